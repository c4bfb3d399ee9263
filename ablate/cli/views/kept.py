"""The output of `ablate evaluate`, `ask` and `export`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.cli.views.out import ERR, OUT, print_json, table
from ablate.cli.views.trial import ProgressLines, print_scores

if TYPE_CHECKING:
    from ablate.run import VideoQuestion
    from models.design import Scoring


def evaluate_and_show(
    trial: str, folder: Path, benchmark: str | None, scoring: Scoring | None, *, as_json: bool
) -> None:
    """Score a kept model on a benchmark and print the table of scores.

    Args:
        trial: the trial.
        folder: the data folder.
        benchmark: its name; that of the folder if None.
        scoring: how options are scored; as in the trial if None.
        as_json: whether to print JSON.
    """
    from ablate.run import EvaluationRequest, evaluate_kept
    from ablate.study import find_record

    record = find_record(trial)
    request = EvaluationRequest(folder=folder, benchmark=benchmark, scoring=scoring)
    evaluation, path = evaluate_kept(record, request, ProgressLines())
    about = record.about
    if as_json:
        print_json(
            {"study": about.study, "trial": about.label, "key": about.key, "records": str(path)} | asdict(evaluation)
        )
        return
    print_scores(evaluation.scores)
    OUT.print(f"{about.study}/{about.label}: scored in {evaluation.seconds:.1f} s; records: {path}")
    OUT.print(f"next: ablate ls {about.study} --metric {evaluation.benchmark}/overall")


def ask_and_show(trial: str, query: VideoQuestion, *, as_json: bool) -> None:
    """Print the answer of a model.

    Args:
        trial: the trial, or an exported folder.
        query: the question.
        as_json: whether to print JSON.
    """
    from ablate.run import ask, weights_of
    from ablate.study import find_record

    exported = Path(trial)
    folder = exported if (exported / "config.json").is_file() else weights_of(find_record(trial))
    reply = ask(folder, query)
    if as_json:
        print_json(asdict(reply))
        return
    if reply.probabilities is not None:
        rows = table("option", "probability", right=("probability",))
        for option, probability in reply.probabilities.items():
            rows.add_row(option, f"{probability:.3f}")
        OUT.print(rows)
    OUT.print(reply.answer)
    if not reply.is_complete:
        ERR.print(f"cut after {query.max_tokens} tokens; give more with --max-tokens", style="yellow")


def export_and_show(trial: str, folder: Path, *, bf16: bool, as_json: bool) -> None:
    """Export a kept model and print where it is."""
    from ablate.run import export_kept
    from ablate.study import find_record

    record = find_record(trial)
    size = export_kept(record, folder, bf16=bf16)
    if as_json:
        print_json({"study": record.about.study, "trial": record.about.label, "folder": str(folder), "bytes": size})
        return
    OUT.print(f"{record.about.study}/{record.about.label}: {size / 1e6:,.1f} MB in {folder}")
    OUT.print(f"next: VideoLMM.from_pretrained({str(folder)!r}), or ablate ask {folder} VIDEO QUESTION")
