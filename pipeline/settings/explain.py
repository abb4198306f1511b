"""What is wrong with settings, in one sentence that names the place, what was expected and what was found."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.settings.annotations import kinds_of, registered

Key = tuple[str, ...]
_MOST = 50
_MAPPING = "keys with values"
_KEY = "[key]"
"""What pydantic puts behind a key that is itself wrong."""
_EXPECTED = {
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "dict_type": _MAPPING,
    "is_instance_of": _MAPPING,
    "invalid_key": "text as a key",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
}


def explain(error: ValidationError, kind: type[BaseModel], values: Any, origins: Mapping[Key, str], path: str) -> str:
    """A sentence about what pydantic found wrong first.

    Args:
        values: what was to become settings of that kind.
        origins: dotted key → file or override that set it.
        path: what is named where nothing set the value.
    """
    problems = _about_the_first(error, kind, values)
    problem = problems[0]
    place = place_of(problem["loc"], kind, values)
    of_key = place[-1:] == (_KEY,)
    place = place[:-2] if of_key else place
    origin = next((origins[place[:n]] for n in range(len(place), 0, -1) if place[:n] in origins), None)
    origin = origin or next((o for key, o in origins.items() if place and key[: len(place)] == place), path)
    name = ".".join(place)
    if problem["type"] == "extra_forbidden":
        known = [name for one in models_at(kind, place[:-1], values) for name in one.model_fields]
        return f"{origin}: {name}: no such setting{did_you_mean(place[-1], known)}"
    if problem["type"] == "missing":
        return f"{origin}: {name}: this setting is required and was not given"
    found = problem["input"]
    expected = " or ".join(dict.fromkeys(map(_expected, problems))) + (" as a key" if of_key else "")
    # settings that don't go together say themselves what was found
    ending = "" if problem["type"] == "value_error" and isinstance(found, dict) else f", found {found!r}"
    near = _did_you_mean(found, problem.get("ctx", {}).get("known", ())) if isinstance(found, str) else ""
    return ": ".join(filter(None, (origin, name, f"expected {expected}{ending}{near}")))


def models_at(kind: type[BaseModel], key: Key, values: Any) -> list[type[BaseModel]]:
    """The settings classes that may stand at `key` of values that are to become settings of that kind."""
    kinds: list[Any] = [kind]
    for name in key:
        values = _value_at(values, name)
        kinds = [found for one in kinds for found in _inside(one, name, values)]
    return [one for one in kinds if _is_model(one)]


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The end of a sentence that says that there is no `name`: the nearest that there is, or all of a few."""
    near, names = _did_you_mean(name, known), sorted(set(known))
    return near or (f"; known are {', '.join(names)}" if 0 < len(names) <= _MOST else "")


def place_of(location: tuple[int | str, ...], kind: type[BaseModel], values: Any) -> Key:
    """The dotted key of an error; where a value may be of several kinds, pydantic adds its name of that kind to it."""
    place: Key = ()
    kinds: list[Any] = [kind]
    kind_follows = False
    for part in location:
        if kind_follows:
            kind_follows = False
            continue
        place = (*place, str(part))
        values = _value_at(values, part)
        kinds = [found for one in kinds for found in _inside(one, part, values)]
        kind_follows = len(kinds) > 1
    return place


def _about_the_first(error: ValidationError, kind: type[BaseModel], values: Any) -> list[ErrorDetails]:
    """What is wrong in the first wrong place. Where that may be of several kinds, pydantic says of each why it isn't
    one; the kind that came furthest is what was meant."""
    problems = error.errors()
    first = place_of(problems[0]["loc"], kind, values)
    about = [problem for problem in problems if place_of(problem["loc"], kind, values)[: len(first)] == first]
    deepest = max(len(place_of(problem["loc"], kind, values)) for problem in about)
    about = [problem for problem in about if len(place_of(problem["loc"], kind, values)) == deepest]
    if deepest > len(first):  # what is misspelt is missing too
        return sorted(about, key=lambda problem: problem["type"] != "extra_forbidden")[:1]
    return about


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _expected(problem: ErrorDetails) -> str:
    if problem["type"] == "string_pattern_mismatch":
        return f"text like {problem['ctx']['pattern']}"
    if problem["type"] == "too_short":
        return f"{problem['ctx']['min_length']} or more"
    words = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return _EXPECTED.get(problem["type"], words)


def _inside(kind: Any, part: int | str, value: Any) -> list[Any]:
    """The kinds of value that may stand at `part` of a value of this kind; `value` is what stands there."""
    if _is_model(kind):
        if part not in kind.model_fields:
            return []
        field = kind.model_fields[str(part)]
        annotation, by_kind = field.annotation, registered(field.annotation, field.metadata)
    else:
        arguments = [one for one in get_args(kind) if one is not Ellipsis]
        annotation = arguments[-1] if arguments else None
        by_kind = registered(annotation)
    if by_kind is None:
        return [] if annotation is None else kinds_of(annotation)
    found = by_kind.settings_of(value)
    return [] if found is None else [found]


def _value_at(values: Any, part: int | str) -> Any:
    """What stands at a key or place (a number, or its digits) of values; nothing where there is none."""
    if isinstance(values, Mapping):
        return values.get(part)
    inside = isinstance(values, list | tuple) and str(part).isdecimal() and int(part) < len(values)
    return values[int(part)] if inside else None


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
