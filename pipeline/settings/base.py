"""The base of all settings classes."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

_NUMBERS = (int, float, int | None, float | None)


class Settings(BaseModel):
    """A group of settings: no unknown keys, no changes after reading, no infinity, a docstring a field."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _true_is_no_number(cls, values: Any) -> Any:
        """YAML has `yes` and `on` for true, which pydantic would take for 1."""
        for name, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, bool) and name in cls.model_fields and cls.model_fields[name].annotation in _NUMBERS:
                raise ValueError(f"a number as {name}, found {str(value).lower()}")
        return values
