"""Snapshots of what a trial's key depends on: `make keys` writes them, tests/ablate/test_trial_keys.py compares.

`trial_keys.json` holds the key of every trial of every shipped sweep. `defaults.json` holds the defaults of every
config by its VERSION: a field that is left at its default does not enter a key, so that a changed default would
change the meaning of old keys.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ablate.spec import expand, load_spec
from ablate.spec.shipped import shipped_sweeps
from models.design import Part
from models.ladder import ScaleCard

SNAPSHOTS = Path(__file__).parent / "snapshots"
SWEEPS = sorted(str(path.relative_to(shipped_sweeps())) for path in shipped_sweeps().rglob("*.yaml"))


def trial_keys(sweep: str) -> dict[str, str]:
    """Label -> key of every trial of a shipped sweep."""
    return {trial.label: trial.key for trial in expand(load_spec(shipped_sweeps() / sweep)).trials}


def configs() -> dict[str, type[Part]]:
    """Name -> config class: the `kind` where it has one, so that a renamed class keeps its entry."""
    found: dict[str, type[Part]] = {"rung": ScaleCard}  # the name under which `trial_key` hashes it
    waiting = [Part]
    while waiting:
        for part in waiting.pop().__subclasses__():
            waiting.append(part)
            if part.__module__.startswith("models.design") and not part.__name__.startswith("_"):
                kind = part.model_fields.get("kind")
                found[kind.annotation.__args__[0] if kind and kind.annotation else part.__name__] = part
    return found


def defaults(config: type[Part]) -> dict[str, Any]:
    """Field -> its default; required fields are left out."""
    plain = config.model_construct().model_dump(mode="json", warnings=False)
    return {name: plain[name] for name, field in config.model_fields.items() if not field.is_required()}


def written(name: str) -> dict[str, Any]:
    """A snapshot as it was written."""
    snapshot: dict[str, Any] = json.loads((SNAPSHOTS / f"{name}.json").read_text(encoding="utf-8"))
    return snapshot


def changed_fields(config: type[Part], snapshot: dict[str, Any]) -> list[str]:
    """Fields whose default differs from the snapshot of this VERSION, or that are gone."""
    changed = {field for field, value in defaults(config).items() if field in snapshot and snapshot[field] != value}
    return sorted(changed | (snapshot.keys() - config.model_fields.keys()))


def main() -> None:
    """Write both snapshots: new configs, versions and fields are added, earlier versions are kept.

    A changed default is not written under the VERSION that it had: the exit code is 1, and the message names the field.
    """
    versions = written("defaults")
    for name, config in sorted(configs().items()):
        version = str(config.VERSION)
        if changed := changed_fields(config, versions.get(name, {}).get(version, {})):
            sys.exit(
                f"{config.__name__}.{', '.join(changed)} changed: raise {config.__name__}.VERSION, then `make keys`"
            )
        versions.setdefault(name, {})[version] = defaults(config)
    for name, snapshot in (("trial_keys", {sweep: trial_keys(sweep) for sweep in SWEEPS}), ("defaults", versions)):
        text = json.dumps(snapshot, indent=1, sort_keys=True) + "\n"
        (SNAPSHOTS / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
