"""No-op trials by Ray Tune as its users run it: `python -m benchmarks.tune_no_op ROOT TRIALS REUSE COMMAND`.

The peer of benchmarks/orchestration.py: a class trainable that finishes at once, and the MLflow callback that comes
with Tune, which writes to a sqlite store. One trial at a time. Prints seconds a trial, from the end of the first to the
end of the last.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    root, trials, is_reused, is_command = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1", sys.argv[4] == "1"
    root.mkdir(parents=True)
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    logging.getLogger("alembic").setLevel(logging.WARNING)
    ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    ends = root / "ends.txt"
    callback = MLflowLoggerCallback(tracking_uri=f"sqlite:///{root / 'mlflow.db'}", experiment_name="none")
    tune.Tuner(
        _trainable(is_command=is_command),
        param_space={"x": tune.grid_search(list(range(trials)))},
        tune_config=tune.TuneConfig(reuse_actors=is_reused),
        run_config=tune.RunConfig(
            storage_path=str(root),
            name="none",
            verbose=0,
            callbacks=[callback, _clock(ends)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    ).fit()
    ray.shutdown()
    times = [float(line) for line in ends.read_text().split()]
    print((times[-1] - times[0]) / (len(times) - 1))


def _trainable(*, is_command: bool) -> Any:
    from ray import tune

    class NoOp(tune.Trainable):  # type: ignore[misc]
        def step(self) -> dict[str, Any]:
            if is_command:
                subprocess.run([sys.executable, "-c", "import json"], check=True)
            return {"score": 1.0, "done": True}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            del new_config
            return True

    return NoOp


def _clock(ends: Path) -> Any:
    """A callback that appends the time of each trial's end to a file, since Tune copies its callbacks."""
    from ray import tune

    class Clock(tune.Callback):  # type: ignore[misc]
        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            del iteration, trials, trial
            with ends.open("a") as file:
                file.write(f"{time.monotonic()}\n")

    return Clock()


if __name__ == "__main__":
    main()
