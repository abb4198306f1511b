"""YAML as people mean it: no key twice, and 1e-4 is a number."""

import re
from collections.abc import Hashable
from typing import Any

import yaml

_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$")


class _Loader(yaml.SafeLoader):
    """YAML 1.1, which asks for a point and a sign in 1.0e+6, with the numbers of YAML 1.2 too."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping; of a key that is there twice, one value would be lost without a word."""
        known = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in known:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} a second time", problem_mark=key.start_mark)
            known.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes what the loader would take for a number."""


for _one in (_Loader, _Dumper):
    _one.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def parse_yaml(text: str) -> Any:
    """What a YAML text holds.

    Raises:
        yaml.YAMLError: it is none, has a key twice in one place, or a part that holds itself.
    """
    try:
        # a subclass of SafeLoader, which makes plain values only
        content = yaml.load(text, _Loader)
        _refuse_loops(content, ())
    except RecursionError:
        raise yaml.YAMLError("parts within parts, too deep to read") from None
    return content


def dump_yaml(content: Any) -> str:
    """YAML that `parse_yaml` reads back as the same."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _refuse_loops(value: Any, around: tuple[int, ...]) -> None:
    if isinstance(value, dict | list):
        if id(value) in around:
            raise yaml.YAMLError("an alias of a part within that part")
        for inner in value.values() if isinstance(value, dict) else value:
            _refuse_loops(inner, (*around, id(value)))
