"""The commands of `ablate`, in the groups in which `ablate --help` lists them."""

from __future__ import annotations

import typer

from ablate.cli.commands import data, imports, kept, mlflow, promotion, study, sweep, trial

RUN, READ, DECIDE, HOUSEKEEPING = "Run", "Read", "Decide", "Housekeeping"

app = typer.Typer(
    name="ablate",
    help="Choose video-LMM designs at small scale, train large once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(rich_help_panel=RUN)(data.check)
app.command(rich_help_panel=RUN)(sweep.plan)
app.command(rich_help_panel=RUN)(sweep.sweep)
app.command(rich_help_panel=RUN)(sweep.attach)
app.command(rich_help_panel=RUN)(trial.trial)
app.command(rich_help_panel=READ)(study.ls)
app.command(rich_help_panel=READ)(study.consistency)
app.command(rich_help_panel=READ)(mlflow.ui)
app.command(rich_help_panel=READ)(kept.evaluate)
app.command(rich_help_panel=READ)(kept.ask)
app.command(rich_help_panel=READ)(kept.export)
app.command(rich_help_panel=DECIDE)(promotion.promote)
app.command("next", rich_help_panel=DECIDE)(promotion.next_)
app.command(rich_help_panel=DECIDE)(promotion.backtest)
app.command("import", rich_help_panel=HOUSEKEEPING)(imports.import_)
app.command(rich_help_panel=HOUSEKEEPING)(mlflow.sync)
app.command(rich_help_panel=HOUSEKEEPING)(study.verify)
app.command(rich_help_panel=HOUSEKEEPING)(sweep.schema)
