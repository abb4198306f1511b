"""YAML as people mean it: no key twice, and 1e-4 is a number."""

import re
from collections.abc import Hashable
from typing import Any

import yaml

_MOST_VALUES = 100_000
_MOST_DEPTH = 100
_TOO_DEEP = "parts within parts, too deep to read"
_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$")


class _Loader(yaml.SafeLoader):
    """YAML 1.1, which asks for a point and a sign in 1.0e+6, with the numbers of YAML 1.2 too."""

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        """A `[` or `{`; each costs as much time as there are around it."""
        if self.flow_level >= _MOST_DEPTH:
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=self.get_mark())
        super().fetch_flow_collection_start(token)

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
        yaml.YAMLError: it is none, has a key twice in one place, a part that holds itself, a date or number that there
            is none of, or aliases that make thousands of values of it.
    """
    # a subclass of SafeLoader, which makes plain values only
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return loader.construct_document(node)
    except RecursionError:
        raise yaml.YAMLError(_TOO_DEEP) from None
    except (ValueError, OverflowError) as error:  # such as a month 13, or a number of thousands of digits
        raise yaml.YAMLError(f"a value that can't be read ({error})") from None
    finally:
        loader.dispose()


def dump_yaml(content: Any) -> str:
    """YAML that `parse_yaml` reads back as the same."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _count(node: yaml.Node, counted: dict[int, int | None]) -> int:
    """Values in a part, each alias taken for what it stands for.

    Args:
        counted: those of the parts that were counted; None of one that is being counted.
    """
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in counted:
        counted[id(node)] = None
        children = node.value if isinstance(node, yaml.SequenceNode) else [one for pair in node.value for one in pair]
        total = 1 + sum(_count(child, counted) for child in children)
        if total > _MOST_VALUES:
            raise yaml.MarkedYAMLError(
                problem=f"more than {_MOST_VALUES:,} values, aliases taken for what they stand for",
                problem_mark=node.start_mark,
            )
        counted[id(node)] = total
    total_before = counted[id(node)]
    if total_before is None:
        raise yaml.MarkedYAMLError(problem="an alias of a part within that part", problem_mark=node.start_mark)
    return total_before
