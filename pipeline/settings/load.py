"""From YAML files and overrides to checked settings that know where each value came from.

A file may start with `base:`, one path or a list of paths relative to the file; later ones win over earlier ones, and
the file itself over all of them. Mappings are merged key by key, everything else is replaced.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from cluster import storage
from cluster.errors import StorageError
from cluster.masking import mask_urls, mask_value
from cluster.once_a_machine import copied_once_a_machine
from pipeline.errors import SettingsError
from pipeline.settings.explain import Key, did_you_mean, explain, models_at
from pipeline.settings.shipped import settings_file, shipped
from pipeline.settings.yaml_text import dump_yaml, parse_yaml

S = TypeVar("S", bound=BaseModel)


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
        """(dotted key, value, origin) of every value as it may be shown, defaults included."""
        for key, value in _leaves(self.shown(), ()):
            origin = next((self.origins[key[:n]] for n in range(len(key), 0, -1) if key[:n] in self.origins), "default")
            yield ".".join(key), value, origin

    def shown(self) -> dict[str, Any]:
        """All values as they may be shown: those that are never recorded too, without their secrets."""
        recorded = self.settings.model_dump(mode="json")
        return {
            name: _masked(getattr(self.settings, name).model_dump(mode="json")) if field.exclude else recorded[name]
            for name, field in type(self.settings).model_fields.items()
        }


def load_settings(
    path: str | os.PathLike[str] | None, kind: type[S], overrides: Sequence[str] = (), *, recorded: bool = False
) -> Resolved[S]:
    """Read a settings file with its bases and apply `a.b=value` overrides.

    Args:
        path: of the file, a URL, or the name of one that is installed with this package (`shipped.settings_file`).
        recorded: it was written from checked settings of a whole experiment, of which `kind` may have some sections
            only; the others are passed over.

    Raises:
        SettingsError: a missing file, wrong YAML, an unknown key or a wrong type, with the place and the nearest name.
    """
    values: dict[str, Any] = {}
    origins: dict[Key, str] = {}
    path = None if path is None else settings_file(os.fspath(path))
    if path is not None:
        _read(path, values, origins, chain=())
    for override in overrides:
        key, value = _parse_override(override)
        origin = f"override {_masked_override(override, kind)!r}"
        _set(values, key, value)
        _mark(origins, key, value, origin)
    for override in overrides:  # once all kinds are known
        _check_override(kind, _parse_override(override)[0], values, override)
    if recorded:
        values = sections_of(kind, values)
    try:
        return Resolved(kind.model_validate(values), origins)
    except ValidationError as error:
        raise SettingsError(explain(error, kind, values, origins, path if path is not None else "settings")) from None


def sections_of(kind: type[BaseModel], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Of the recorded settings of a whole experiment the sections that a part of it has."""
    return {name: value for name, value in recorded.items() if name in kind.model_fields}


def dump_settings(settings: BaseModel) -> str:
    """The settings as YAML that `load_settings` reads back."""
    return dump_yaml(settings.model_dump(mode="json"))


def _read(path: str, values: dict[str, Any], origins: dict[Key, str], chain: tuple[str, ...]) -> None:
    if path in chain:
        raise SettingsError(f"{path}: its bases include it again ({' → '.join([*chain, path])})")
    try:
        content = parse_yaml(_text_of(path))
    except StorageError as error:
        raise SettingsError(_missing(path, chain) or str(error)) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else path
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise SettingsError(
            f"{place}: expected YAML, found {problem.removeprefix('but ').removeprefix('found ')}"
        ) from None
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: expected keys with values, found {type(content).__name__}")
    bases = content.pop("base", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not (isinstance(bases, list) and all(isinstance(base, str) for base in bases)):
        raise SettingsError(f"{path}: base: expected a path or a list of paths, found {bases!r}")
    for base in bases:
        _read(_relative_to(path, base), values, origins, (*chain, path))
    _merge(values, content, ())
    _mark(origins, (), content, path)


def _text_of(path: str) -> str:
    if not storage.is_remote(path):
        return storage.read_text(path)
    with copied_once_a_machine(path) as copy:  # all ranks read it as they start
        return storage.read_text(copy)


def _relative_to(path: str, base: str) -> str:
    if storage.is_remote(base) or os.path.isabs(base):
        return base
    if storage.is_remote(path):
        return storage.join(path.rsplit("/", 1)[0], base)
    return os.path.normpath(os.path.join(os.path.dirname(path), base))


def _missing(path: str, chain: tuple[str, ...]) -> str | None:
    # os.path: a path that can't be one, too long for one, is no file either
    if storage.is_remote(path) or os.path.isfile(path):
        return None
    wanted_by = f" (a base of {chain[-1]})" if chain else ""
    if os.path.isdir(path):
        return f"{path}{wanted_by}: expected a settings file, found a folder"
    # what was meant lies beside it or one folder below: whoever looks further may look through a whole disk; or it is
    # the name of one that is installed
    folder = Path(path).parent
    files = [*folder.glob("*.yaml"), *folder.glob("*/*.yaml")] if Path(path).suffix and os.path.isdir(folder) else []
    names = [str(file.relative_to(folder)) for file in files if file != Path(path)]
    nearest = did_you_mean(Path(path).name, names) or did_you_mean(path, list(shipped()))
    return f"{path}{wanted_by}: no such settings file{nearest}"


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
        return tuple(name.split(".")), parse_yaml(text)
    except yaml.YAMLError:
        raise SettingsError(f"override {override!r}: expected a YAML value behind '='") from None


def _check_override(kind: type[BaseModel], key: Key, values: Any, override: str) -> None:
    for depth, name in enumerate(key):
        fields = [field for one in models_at(kind, key[:depth], values) for field in one.model_fields]
        if fields and name not in fields:
            place = f"{'.'.join(key[:depth])} has" if depth else "the settings have"
            raise SettingsError(f"override {override!r}: {place} no key {name!r}{did_you_mean(name, fields)}")


def _set(values: dict[str, Any], key: Key, value: Any) -> None:
    for name in key[:-1]:
        inner = values.get(name)
        if not isinstance(inner, dict):
            inner = values[name] = {}
        values = inner
    values[key[-1]] = value


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: mask_value(str(key), inner) if _is_leaf(inner) else _masked(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner) for inner in value]
    return mask_urls(value) if isinstance(value, str) else value


def _is_leaf(value: Any) -> bool:
    return not isinstance(value, dict | list)


def _masked_override(override: str, kind: type[BaseModel]) -> str:
    name, equals, text = override.partition("=")
    section = kind.model_fields.get(name.partition(".")[0])
    if section is None or not section.exclude:
        return override
    return f"{name}{equals}{mask_value(name.rpartition('.')[2], text)}"


def _leaves(value: Any, key: Key) -> Iterator[tuple[Key, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, (*key, str(name)))
    else:
        yield key, value
