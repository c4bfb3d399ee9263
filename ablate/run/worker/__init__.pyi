from .trial import run_trial as run_trial
