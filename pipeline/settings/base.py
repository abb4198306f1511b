"""The base of all settings classes."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A group of settings: no unknown keys, no changes after reading, a docstring a field."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)
