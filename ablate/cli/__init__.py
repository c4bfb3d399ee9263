"""What people type and see: commands by noun, and the views that print their results.

The only importer of typer and rich.
"""
