"""Writes result.json from the newest results of lmms-eval below a folder: `lmms_eval_scores.py FOLDER OUT`."""

import json
import sys
from pathlib import Path

import reporter

newest = max(Path(sys.argv[1]).rglob("*_results.json"), key=lambda path: path.stat().st_mtime)
scores = {}
for task, metrics in json.loads(newest.read_text())["results"].items():
    for name, value in metrics.items():  # such as "videomme_perception_score,none": 61.2
        metric, comma, _ = name.partition(",")
        if comma and "_stderr" not in metric and isinstance(value, (int, float)):
            scores[f"{task}/{metric}"] = value
reporter.finish(scores, out=sys.argv[2])
