"""JSON Schema of a sweep spec, for editors."""

from __future__ import annotations

from typing import Any

from ablate.spec.axes import design_fields
from ablate.spec.sweep_spec import SweepSpec
from models.design import Design
from models.ladder import LADDER


def json_schema() -> dict[str, Any]:
    """JSON Schema of a sweep spec with every axis of the design space, for completion in editors."""
    schema = SweepSpec.model_json_schema()
    design = Design.model_json_schema()
    schema.setdefault("$defs", {}).update(design.get("$defs", {}))
    ladder = {"type": "string", "enum": list(LADDER), "description": "A label of the ladder."}
    schema["properties"]["scales"]["items"] = {"anyOf": [ladder, {"$ref": "#/$defs/Scale"}]}
    for definition in schema["$defs"].values():
        if "kind" in definition.get("properties", {}):  # a variant as an axis value may have a name
            definition["properties"]["name"] = {"type": "string", "description": "Name in labels."}
    axes = {
        path.replace("*", "0"): {
            "type": "array",
            "minItems": 1,
            "description": field.description or "",
            **({"items": design["properties"][path]} if path in design["properties"] else {}),
        }
        for path, field in design_fields().items()
    }
    for owner in (schema, schema["$defs"]["Grid"]):
        owner["properties"]["axes"] |= {"properties": axes, "additionalProperties": False}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
