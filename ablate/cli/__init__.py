"""The command line: commands by noun, and the views that print their results.

Only this package imports typer and rich.
"""
