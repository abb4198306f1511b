"""Kinds of a part of the settings, by name: models, tasks, inputs, readouts, measures, worlds.

A kind is one line of its registry: the name that stands as `kind` in YAML, and where its settings class and what they
build are found. Neither is imported before a settings file asks for it. Packages elsewhere add kinds of their own from
a module that the environment variable GAVT_EXTENSIONS names (several with commas between them); a settings file or a
checkpoint can't, as code would run from it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Generic, TypeVar

from pydantic import GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from pipeline.errors import SettingsError
from pipeline.settings.base import Settings

EXTENSIONS = "GAVT_EXTENSIONS"
S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class Kind:
    """Where a kind is found, as `module:name`.

    Attributes:
        settings: its settings class; its module needs no torch where it can do without. Empty where it has none of its
            own.
        part: the class that is built from the settings; empty where the settings build it themselves.
    """

    settings: str = ""
    part: str = ""


class Registry(Generic[S]):
    """The kinds of one part.

    Attributes:
        what: the part, as errors call it.
        default: kind of settings that name none; empty where they must.
    """

    def __init__(self, what: str, kinds: Mapping[str, Kind], default: str) -> None:
        self.what, self.default = what, default
        self._kinds = dict(kinds)

    def add(self, name: str, settings: str = "", part: str = "") -> None:
        """Add a kind; arguments as of `Kind`.

        Raises:
            SettingsError: there is one of that name, which lies elsewhere.
        """
        kind = Kind(settings, part)
        if self._kinds.setdefault(name, kind) != kind:
            raise SettingsError(f"{self.what} {name}: expected a new name, found that of {self._kinds[name].settings}")

    def names(self) -> list[str]:
        """All kinds."""
        _import_extensions()
        return sorted(self._kinds)

    def __contains__(self, name: object) -> bool:
        return self._kind(name) is not None

    def settings_of(self, name: object) -> type[S] | None:
        """The settings class of a kind; None where there is no such kind."""
        kind = self._kind(name)
        return None if kind is None else _found(kind.settings)

    def part_of(self, settings: S) -> Any:
        """The class that is built from settings."""
        return self.part_named(getattr(settings, "kind", None))

    def part_named(self, name: object) -> Any:
        """The class behind a name that is known."""
        kind = self._kind(name)
        assert kind is not None  # else there were no settings
        return _found(kind.part)

    def _kind(self, name: object) -> Kind | None:
        if not isinstance(name, str):
            return None
        if name not in self._kinds:
            _import_extensions()
        return self._kinds.get(name)

    def expected(self) -> str:
        """What was expected in the place of a name that is no kind."""
        return f"{', '.join(map(repr, self.names()))} or a kind that a module in {EXTENSIONS} adds"


@dataclass(frozen=True)
class KindOf:
    """Beside an annotation: the value is of one of a registry's kinds, told by its key `kind`."""

    registry: Registry[Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        known = core_schema.is_instance_schema(source)
        return core_schema.no_info_before_validator_function(
            self._read, known, serialization=core_schema.plain_serializer_function_ser_schema(_written, info_arg=True)
        )

    def settings_of(self, value: object) -> type[Settings] | None:
        """The settings class of a value as it stands in YAML."""
        name = value.get("kind", self.registry.default) if isinstance(value, Mapping) else self.registry.default
        return self.registry.settings_of(name)

    def _read(self, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        kind = self.settings_of(value)
        if kind is None:
            told = {"expected": self.registry.expected(), "known": self.registry.names()}
            expected = PydanticCustomError("unknown_kind", "{expected}", told)
            details = InitErrorDetails(type=expected, loc=("kind",), input=value.get("kind"))
            raise ValidationError.from_exception_data(self.registry.what, [details])
        return kind.model_validate(dict(value))


def _written(value: Settings, info: core_schema.SerializationInfo) -> Any:
    return value.model_dump(mode=info.mode)


def _found(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def _import_extensions() -> None:
    """Import what GAVT_EXTENSIONS names; importing it adds its kinds.

    Raises:
        SettingsError: there is no such module, or it lacks what it needs.
    """
    for name in filter(None, (part.strip() for part in os.environ.get(EXTENSIONS, "").split(","))):
        if not all(part.isidentifier() for part in name.split(".")):
            raise SettingsError(f"{EXTENSIONS}: expected names of modules with commas between them, found {name!r}")
        try:
            import_module(name)
        except ImportError as error:
            raise SettingsError(
                f"{EXTENSIONS}: expected modules that can be imported, found {name}: {error}"
            ) from error
