"""The base of all settings classes."""

import inspect
import os
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, model_validator

from pipeline.settings.annotations import kinds_of

# For the docstrings of fields pydantic asks of each frame of the stack which module it is of. Of those of the import
# system inspect does not know it, and each time looks through all modules there are: a second of a start, two with
# wandb's classes. What it has found once it looks up here.
for _name in ("_bootstrap", "_bootstrap_external"):
    _file = os.path.abspath(f"<frozen importlib.{_name}>")
    inspect.modulesbyfile[_file] = f"importlib.{_name}"


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
            if isinstance(value, bool) and name in cls.model_fields and _is_number(cls.model_fields[name].annotation):
                raise ValueError(f"a number as {name}, found {str(value).lower()}")
        return values


def _is_number(annotation: Any) -> bool:
    """Whether numbers may stand there, and truth values may not."""
    kinds: set[Any] = set()
    for kind in kinds_of(annotation):
        kinds |= {type(value) for value in get_args(kind)} if get_origin(kind) is Literal else {kind}
    return bool not in kinds and not kinds.isdisjoint((int, float))
