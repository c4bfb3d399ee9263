"""The base of every config: frozen, without unknown keys, without coercion."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
LearningRate = Annotated[float, Field(ge=0, lt=1)]


class Part(BaseModel):
    """Base of every component of a config: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
    VERSION: ClassVar[int] = 1

    @model_validator(mode="before")
    @classmethod
    def _refuse_coercion(cls, data: Any) -> Any:
        return refuse_coercion(cls, data)


def refuse_coercion(model: type[BaseModel], data: Any) -> Any:
    """Refuse values that pydantic would coerce: `true` to 1, `"8"` to 8, 1 to `true`. 3e6 for 3000000 is accepted.

    Raises:
        ValueError: names the field and the value.
    """
    for name, field in model.model_fields.items():
        value = data.get(name) if isinstance(data, Mapping) else None
        for one in value if isinstance(value, list | tuple) else [value]:
            if _is_number(field.annotation) and isinstance(one, bool | str):
                raise ValueError(f"{name} must be a number, not {one!r}")
        if field.annotation is bool and value is not None and not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, not {value!r}")
    return data


def _is_number(annotation: Any) -> bool:
    """Whether a field takes a number, a tuple of numbers, or a number or None."""
    if get_origin(annotation) is Annotated:
        return _is_number(get_args(annotation)[0])
    if get_origin(annotation) is tuple:
        return all(piece is Ellipsis or _is_number(piece) for piece in get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return all(piece is NoneType or _is_number(piece) for piece in get_args(annotation))
    return annotation in (int, float)
