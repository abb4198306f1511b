"""All settings as tables for configs/README.md, from their classes and the docstrings below their fields.

`PYTHONPATH=. python tests/settings_reference.py` writes them there.
"""

import ast
import inspect
import json
import re
import types
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.claims.settings import ClaimSettings
from pipeline.experiment import ExperimentSettings
from pipeline.settings.annotations import registered
from pipeline.settings.base import Settings
from pipeline.settings.registry import Registry

PAGE = Path(__file__).parents[1] / "configs" / "README.md"
MARK = "<!-- tests/settings_reference.py writes what follows -->\n\n"
_ROOTS: dict[str, type[Settings]] = {"an experiment": ExperimentSettings, "claim": ClaimSettings}
_WORDS = {int: "whole number", float: "number", str: "text", bool: "true, false", type(None): "null", Any: "anything"}
_LIMITS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "multiple_of": "multiple of", "min_length": "or more"}


def reference() -> str:
    """Markdown: a heading, a sentence and a table for each settings class, at the key where it is first met."""
    sections = _sections()
    parts = []
    for kind, heading in sections.items():
        rows = [_row(kind, name, field, sections) for name, field in _settings(kind)]
        parts.append(f"### {heading}\n\n{_summary(kind)}\n")
        if rows:
            parts.append("\n".join(["| setting | what | default | meaning |", "|---|---|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def undocumented() -> list[str]:
    """Settings that say nothing of themselves, nor the section that they hold."""
    return [
        f"{kind.__module__}:{kind.__name__}.{name}"
        for kind in _sections()
        for name, field in _settings(kind)
        if not _meaning(kind, name, field)
    ]


def is_setting(key: str) -> bool:
    """Whether some experiment has a setting of that dotted key."""
    kinds: list[type[Settings]] = [ExperimentSettings]
    for name in key.split("."):
        fields = [kind.model_fields[name] for kind in kinds if name in kind.model_fields]
        if not fields:
            return False
        kinds = [inner for field in fields for inner, _ in _inside(field.annotation, field.metadata, "")]
    return True


@cache
def _sections() -> dict[type[Settings], str]:
    """Settings class → its heading, in order: the shortest key where it may stand, and its kind where it has one."""
    sections: dict[type[Settings], str] = {}
    waiting = list(_ROOTS.items())
    for place, kind in waiting:
        if kind not in sections:
            kinds = get_args(kind.model_fields["kind"].annotation) if "kind" in kind.model_fields else ()
            sections[kind] = f"{place}, kind {' or '.join(kinds)}" if kinds else place
            below = "" if kind is ExperimentSettings else f"{place}."
            for name, field in _settings(kind):
                inside = _inside(field.annotation, field.metadata, below + name)
                waiting += [(inner_place, inner) for inner, inner_place in inside]
    return dict(sorted(sections.items(), key=lambda section: section[1]))


def _settings(kind: type[Settings]) -> list[tuple[str, FieldInfo]]:
    """Fields of a class but its `kind`, which headings have."""
    return [(name, field) for name, field in kind.model_fields.items() if name != "kind"]


def _inside(annotation: Any, metadata: Iterable[Any], key: str) -> Iterator[tuple[type[Settings], str]]:
    """Settings classes that may stand at a key, with the key of each."""
    by_kind = registered(annotation, metadata)
    if by_kind is not None:
        yield from ((inner, key) for inner in _own_kinds(by_kind.registry))
    elif isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation, key
    elif get_origin(annotation) is Annotated:
        yield from _inside(annotation.__origin__, annotation.__metadata__, key)
    elif get_origin(annotation) is not Literal:
        below = {dict: ".NAME", list: "[]", tuple: "[]"}.get(get_origin(annotation), "")
        for argument in get_args(annotation):
            yield from _inside(argument, (), key + below)


def _own_kinds(registry: Registry[Any]) -> dict[type[Settings], str]:
    """Settings class → kind of what is gavt's own: in a process of tests there are kinds of theirs too."""
    known = {registry.settings_of(name): name for name in registry.names()}
    return {kind: name for kind, name in known.items() if kind.__module__.startswith("pipeline.")}


def _row(kind: type[Settings], name: str, field: FieldInfo, sections: dict[type[Settings], str]) -> str:
    what = _what(field.annotation, field.metadata, sections)
    cells = (f"`{name}`", what, _default(field), _meaning(kind, name, field))
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _meaning(kind: type[Settings], name: str, field: FieldInfo) -> str:
    """The docstring below a field, in its class or one that it derives from; else that of the section it holds."""
    found = (_docstrings(one).get(name) for one in kind.__mro__ if one.__module__.startswith("pipeline."))
    held = field.annotation
    section = _summary(held) if isinstance(held, type) and issubclass(held, Settings) else ""
    return next(filter(None, found), section)


def _summary(kind: type[Settings]) -> str:
    return " ".join((inspect.getdoc(kind) or "").split())


@cache
def _docstrings(kind: type) -> dict[str, str]:
    tree = ast.parse(Path(inspect.getfile(kind)).read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__)
    return {
        ast.unparse(field.target): " ".join(below.value.value.split())
        for field, below in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, Settings):
        return f"kind {value.kind}" if hasattr(value, "kind") else ""
    text = json.dumps(value, ensure_ascii=False)
    return f"`{text.strip(chr(34))}`"


def _what(annotation: Any, metadata: Iterable[Any], sections: dict[type[Settings], str]) -> str:
    """What may stand there, in words."""
    by_kind = registered(annotation, metadata)
    if by_kind is not None:
        return ", ".join(_link(kind, name, sections) for kind, name in _own_kinds(by_kind.registry).items())
    limits = [
        f"{value} {sign}" if name == "min_length" else f"{sign} {value}"
        for one in metadata
        for name, sign in _LIMITS.items()
        if (value := getattr(one, name, None)) is not None
    ]
    return ", ".join([_words(annotation, sections), *limits])


def _words(annotation: Any, sections: dict[type[Settings], str]) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _what(annotation.__origin__, annotation.__metadata__, sections)
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(one, sections) for one in arguments)
    if origin is dict:
        return " → ".join(_words(one, sections) for one in arguments)
    if origin in (list, tuple):
        kinds = dict.fromkeys(_words(one, sections) for one in arguments if one is not Ellipsis)
        number = f"{len(arguments)} of " if origin is tuple and Ellipsis not in arguments else ""
        return f"list of {number}{' and '.join(kinds)}"
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        kind = annotation.model_fields.get("kind")
        return _link(annotation, "section" if kind is None else ", ".join(get_args(kind.annotation)), sections)
    return _WORDS[annotation]


def _link(kind: type[Settings], name: str, sections: dict[type[Settings], str]) -> str:
    return f"[{name}](#{anchor(sections[kind])})"


def anchor(heading: str) -> str:
    """What GitHub calls a heading in links."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


if __name__ == "__main__":
    told, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    PAGE.write_text(told + MARK + reference(), encoding="utf-8")
