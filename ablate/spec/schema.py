"""JSON Schema of a sweep spec, for editors: with ablate's own trainer, or with one of the user's own."""

from __future__ import annotations

import copy
import re
from typing import Any

from ablate.spec.axes import design_fields
from ablate.spec.sweep_spec import SweepSpec
from models.design import Design
from models.ladder import LADDER

OPEN_KEYS = ("data", "cost")
"""Keys of a spec that only a trainer of the user's own has."""
LLM_KEYS = ("llm", "llm_lr_factor")
"""Keys of a scale that only ablate's own trainer has."""
ANY_AXES = {"type": "object", "additionalProperties": {"type": "array", "minItems": 1}}
SPEC_FILE = {"required": ["base"], "properties": {"base": {"pattern": "\\.ya?ml$"}}}
"""A spec that starts from another, of which the schema does not know the trainer."""


def json_schema() -> dict[str, Any]:
    """JSON Schema of a sweep spec, for completion in editors.

    `$defs` has `Sweep`, with every axis of the design space, and `OpenSweep`, with a trainer of the user's own.
    """
    schema = SweepSpec.model_json_schema()
    definitions = schema.pop("$defs")
    design = Design.model_json_schema()
    definitions |= design.get("$defs", {})
    for name in design.get("$defs", {}):  # a part as an axis value may have a name
        if properties := definitions[name].get("properties"):
            properties.setdefault("name", {"type": "string", "description": "Name in labels."})
    _allow_short_forms(schema, definitions)
    definitions |= _open(schema, definitions)
    definitions |= _own(schema, definitions, design)
    sweep, open_sweep = {"$ref": "#/$defs/Sweep"}, {"$ref": "#/$defs/OpenSweep"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sweep spec",
        "if": {"required": ["trainer"]},
        "then": open_sweep,
        "else": {"if": SPEC_FILE, "then": {"anyOf": [sweep, open_sweep]}, "else": sweep},
        "$defs": definitions,
    }


def _allow_short_forms(schema: dict[str, Any], definitions: dict[str, Any]) -> None:
    """What validators of the spec accept beside its fields' types."""
    properties = schema["properties"]
    properties["metric"]["anyOf"].insert(0, {"type": "string"})
    properties["base"] |= {"type": "string"}
    del properties["base"]["anyOf"], properties["base"]["default"]
    argument = {"type": ["string", "number"]}
    command = definitions["Trainer"]["properties"]["command"]
    command["items"] = {"anyOf": [argument, {"type": "array", "items": argument, "minItems": 1}]}


def _own(schema: dict[str, Any], definitions: dict[str, Any], design: dict[str, Any]) -> dict[str, Any]:
    """Definitions for ablate's own trainer: `Sweep`, `Grid`, `Scale`."""
    sweep, grid, scale = copy.deepcopy((schema, definitions["Grid"], definitions["Scale"]))
    ladder = {"type": "string", "enum": list(LADDER), "description": "A label of the ladder."}
    sweep["properties"]["scales"]["items"] = {"anyOf": [ladder, {"$ref": "#/$defs/Scale"}]}
    axes = {
        path.replace("*", "0"): {
            "type": "array",
            "minItems": 1,
            "description": field.description or "",
            **({"items": _named_or_not(design["properties"][path])} if path in design["properties"] else {}),
        }
        for path, field in design_fields().items()
    }
    indexed = {f"^{re.escape(path).replace(re.escape('*'), '[0-9]+')}$": axes[path.replace("*", "0")]
               for path in design_fields() if "*" in path}  # fmt: skip
    for owner in (sweep, grid):
        owner["properties"]["axes"] |= {"properties": axes, "patternProperties": indexed, "additionalProperties": False}
    for key in OPEN_KEYS:
        del sweep["properties"][key]
    del scale["properties"]["set"]
    sweep["required"].append("base")
    return {"Sweep": sweep, "Grid": grid, "Scale": scale}


def _named_or_not(value: dict[str, Any]) -> dict[str, Any]:
    """A value of an axis, alone or with a name."""
    named = {"name": {"type": "string", "minLength": 1}, "value": value}
    return {
        "anyOf": [value, {"type": "object", "properties": named, "required": [*named], "additionalProperties": False}]
    }


def _open(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Definitions for a trainer of the user's own: `OpenSweep`, `OpenGrid`, `OpenScale`."""
    sweep, grid, scale = copy.deepcopy((schema, definitions["Grid"], definitions["Scale"]))
    for owner in (sweep, grid):
        owner["properties"]["axes"] |= ANY_AXES
    sweep["properties"]["grids"]["items"] = {"$ref": "#/$defs/OpenGrid"}
    label = {"type": "string", "pattern": scale["properties"]["label"]["pattern"]}
    sweep["properties"]["scales"]["items"] = {"anyOf": [label, {"$ref": "#/$defs/OpenScale"}]}
    for key in LLM_KEYS:
        del scale["properties"][key]
    del scale["anyOf"]
    sweep["anyOf"] = [{"required": ["trainer", "metric"]}, {"required": ["base"]}]
    return {"OpenSweep": sweep, "OpenGrid": grid, "OpenScale": scale}
