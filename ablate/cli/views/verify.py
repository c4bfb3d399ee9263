"""The output of `ablate verify`: which files of a study changed since their trials finished."""

from __future__ import annotations

from dataclasses import asdict

from ablate.cli.views.out import ERR, OUT, print_json
from ablate.errors import UsageError
from ablate.paths import study_paths


def verify_and_show(study: str, *, as_json: bool) -> int:
    """Print the number of intact trials and files, and each damaged one.

    Returns:
        The exit code: 1 if any is damaged.

    Raises:
        UsageError: there is no such study.
    """
    from ablate.record import verify
    from ablate.study import no_such_study

    paths = study_paths(study)
    if not paths.trials.is_dir():
        raise UsageError(no_such_study(study))
    verification = verify(paths)
    if as_json:
        print_json({"study": study} | asdict(verification))
    else:
        for message in verification.damaged:
            ERR.print(f"damaged: {message}", style="red")
        OUT.print(
            f"study {study}: {verification.trials} trials, {verification.files} files with a digest, "
            f"{len(verification.damaged)} damaged"
        )
    return int(bool(verification.damaged))
