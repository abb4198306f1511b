"""From YAML files and overrides to checked settings that know where each value came from.

A file may start with `base:`, one path or a list of paths relative to the file; later ones win over earlier ones, and
the file itself over all of them. Mappings are merged key by key, everything else is replaced.
"""

import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from cluster import storage
from cluster.errors import StorageError
from pipeline.errors import SettingsError

S = TypeVar("S", bound=BaseModel)
Key = tuple[str, ...]


@dataclass(frozen=True)
class Resolved(Generic[S]):
    """Checked settings and where each value came from.

    Attributes:
        settings: the checked settings.
        origins: dotted key → file or override that set it; a key that is not there has its default.
    """

    settings: S
    origins: dict[Key, str] = field(default_factory=dict)

    def rows(self) -> Iterator[tuple[str, Any, str]]:
        """(dotted key, value, origin) of every value, defaults included."""
        for key, value in _leaves(self.settings.model_dump(mode="json"), ()):
            origin = next((self.origins[key[:n]] for n in range(len(key), 0, -1) if key[:n] in self.origins), "default")
            yield ".".join(key), value, origin


def load_settings(path: str | os.PathLike[str] | None, kind: type[S], overrides: Sequence[str] = ()) -> Resolved[S]:
    """Read a settings file with its bases and apply `a.b=value` overrides.

    Raises:
        SettingsError: a missing file, wrong YAML, an unknown key or a wrong type, with the place and the nearest name.
    """
    values: dict[str, Any] = {}
    origins: dict[Key, str] = {}
    if path is not None:
        _read(os.fspath(path), values, origins, chain=())
    for override in overrides:
        key, value = _parse_override(override)
        origin = f"override {override!r}"
        _check_override(kind, key, override)
        _set(values, key, value)
        _mark(origins, key, value, origin)
    try:
        return Resolved(kind.model_validate(values), origins)
    except ValidationError as error:
        raise SettingsError(
            _explain(error, kind, origins, os.fspath(path) if path is not None else "settings")
        ) from None


def dump_settings(settings: BaseModel) -> str:
    """The settings as YAML that `load_settings` reads back."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read(path: str, values: dict[str, Any], origins: dict[Key, str], chain: tuple[str, ...]) -> None:
    if path in chain:
        raise SettingsError(f"{path}: its bases include it again ({' → '.join([*chain, path])})")
    try:
        content = yaml.safe_load(storage.read_text(path))
    except StorageError as error:
        raise SettingsError(_missing(path, chain) or str(error)) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else path
        raise SettingsError(f"{place}: expected YAML, found {getattr(error, 'problem', None) or error}") from None
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: expected keys with values, found {type(content).__name__}")
    bases = content.pop("base", [])
    for base in [bases] if isinstance(bases, str) else bases:
        if not isinstance(base, str):
            raise SettingsError(f"{path}: base: expected paths, found {base!r}")
        _read(_relative_to(path, base), values, origins, (*chain, path))
    _merge(values, content, ())
    _mark(origins, (), content, path)


def _relative_to(path: str, base: str) -> str:
    if storage.is_remote(base) or os.path.isabs(base):
        return base
    if storage.is_remote(path):
        return storage.join(path.rsplit("/", 1)[0], base)
    return os.path.normpath(os.path.join(os.path.dirname(path), base))


def _missing(path: str, chain: tuple[str, ...]) -> str | None:
    if storage.is_remote(path) or Path(path).is_file():
        return None
    folder = Path(path).parent
    names = [str(file.relative_to(folder)) for file in folder.rglob("*.yaml")] if folder.is_dir() else []
    wanted_by = f" (a base of {chain[-1]})" if chain else ""
    return f"{path}{wanted_by}: no such settings file{_did_you_mean(Path(path).name, names)}"


def _merge(into: dict[str, Any], new: dict[str, Any], key: Key) -> None:
    for name, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value, (*key, name))
        else:
            into[name] = value


def _mark(origins: dict[Key, str], key: Key, value: Any, origin: str) -> None:
    """Note the origin of every leaf of `value`; what was below a replaced leaf is forgotten."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            _mark(origins, (*key, str(name)), inner, origin)
        return
    for old in [old for old in origins if old[: len(key)] == key]:
        del origins[old]
    origins[key] = origin


def _parse_override(override: str) -> tuple[Key, Any]:
    name, equals, text = override.partition("=")
    if not equals or not all(name.split(".")):
        raise SettingsError(f"override {override!r}: expected key.key=value")
    try:
        return tuple(name.split(".")), yaml.safe_load(text)
    except yaml.YAMLError:
        raise SettingsError(f"override {override!r}: expected a YAML value behind '='") from None


def _check_override(kind: type[BaseModel], key: Key, override: str) -> None:
    for depth, name in enumerate(key):
        fields = [field for one in _models_at(kind, key[:depth]) for field in one.model_fields]
        if fields and name not in fields:
            place = ".".join(key[:depth]) or "the settings"
            raise SettingsError(f"override {override!r}: {place} has no key {name!r}{_did_you_mean(name, fields)}")


def _set(values: dict[str, Any], key: Key, value: Any) -> None:
    for name in key[:-1]:
        inner = values.get(name)
        if not isinstance(inner, dict):
            inner = values[name] = {}
        values = inner
    values[key[-1]] = value


def _explain(error: ValidationError, kind: type[BaseModel], origins: dict[Key, str], path: str) -> str:
    problem = error.errors()[0]
    place = _place(problem["loc"], kind)
    origin = next((origins[place[:n]] for n in range(len(place), 0, -1) if place[:n] in origins), None)
    origin = origin or next((o for key, o in origins.items() if place and key[: len(place)] == place), path)
    name = ".".join(place)
    if problem["type"] == "extra_forbidden":
        known = [name for one in _models_at(kind, place[:-1]) for name in one.model_fields]
        return f"{origin}: {name}: no such setting{_did_you_mean(place[-1], known)}"
    if problem["type"] == "missing":
        return f"{origin}: {name}: this setting is required and was not given"
    found = problem["input"]
    expected = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    # settings that don't go together say themselves what was found
    ending = "" if problem["type"] == "value_error" and isinstance(found, dict) else f", found {found!r}"
    return f"{origin}: {name}: expected {expected}{ending}"


def _place(location: tuple[int | str, ...], kind: type[BaseModel]) -> Key:
    """The dotted key of an error; where one of several classes may stand, pydantic adds that class's tag to it."""
    place: Key = ()
    tag_follows = False
    for part in location:
        if not tag_follows:
            place = (*place, str(part))
        tag_follows = not tag_follows and len(_models_at(kind, place)) > 1
    return place


def _models_at(kind: type[BaseModel], key: Key) -> list[type[BaseModel]]:
    """The settings classes that may stand at `key`."""
    kinds = [kind]
    for name in key:
        inner = [one.model_fields[name].annotation for one in kinds if name in one.model_fields]
        kinds = [found for annotation in inner for found in _models_in(annotation)]
    return kinds


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for argument in get_args(annotation):
            yield from _models_in(argument)


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known are {', '.join(sorted(set(known)))}" if known else ""


def _leaves(value: Any, key: Key) -> Iterator[tuple[Key, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, (*key, str(name)))
    else:
        yield key, value
