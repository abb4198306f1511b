"""The base of all settings classes."""

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, model_validator

from pipeline.settings.annotations import kinds_of


class Settings(BaseModel):
    """A group of settings: no unknown keys, no changes after reading, no infinity, a docstring a field."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _true_is_no_number(cls, values: Any) -> Any:
        """YAML has `yes` and `on` for true, which pydantic would take for 1."""
        for name, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, bool) and name in cls.model_fields and _is_number(cls.model_fields[name].annotation):
                raise ValueError(f"a number as {name}, found {str(value).lower()}")
        return values


def _is_number(annotation: Any) -> bool:
    """Whether numbers may stand there, and truth values may not."""
    kinds: set[Any] = set()
    for kind in kinds_of(annotation):
        kinds |= {type(value) for value in get_args(kind)} if get_origin(kind) is Literal else {kind}
    return bool not in kinds and not kinds.isdisjoint((int, float))
