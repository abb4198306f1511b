"""JSON that others wrote ends in what it holds or in one kind of error."""

import ast
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.json_text import MOST_DEPTH, parse_json

REPOSITORY = Path(__file__).parents[2]
_OF_OTHERS = (
    "cluster",
    "pipeline/stream",
    "pipeline/shards",
    "pipeline/samples",
    "pipeline/video",
    "pipeline/sound",
    "pipeline/prepare/manifests",
    "pipeline/inspect",
)


def test_nobody_else_reads_json_of_others() -> None:
    readers = {
        str(file.relative_to(REPOSITORY))
        for package in _OF_OTHERS
        for file in (REPOSITORY / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in ("loads", "load")
        and getattr(node.value, "id", "") == "json"
    }
    assert readers == {"cluster/json_text.py"}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(values)
def test_what_was_written_is_read(value: object) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize("text", ["[", '{"a":', '{"a":[', '[{"a":'])
@pytest.mark.parametrize("levels", [MOST_DEPTH, 1000, 200_000])
def test_what_is_nested_too_deep_is_no_json(text: str, levels: int) -> None:
    closing = text.translate({ord("["): "]", ord("{"): "}", ord('"'): None, ord("a"): None, ord(":"): None})[::-1]
    with pytest.raises(json.JSONDecodeError, match="levels"):
        parse_json(text * levels + "[0]" + closing * levels)


def test_what_is_longer_than_it_may_be_is_refused_before_it_is_read() -> None:
    with pytest.raises(json.JSONDecodeError, match="more than 5 characters"):
        parse_json("[1, 2]", most=5)


def test_as_many_levels_as_are_allowed_are_read() -> None:
    assert parse_json("[" * MOST_DEPTH + "]" * MOST_DEPTH)


@pytest.mark.parametrize("text", ["9" * 5000, b"\xff", b"[1, \xff]", "", "[1,", '{"a": 1'])
def test_what_is_none_is_said(text: str | bytes) -> None:
    with pytest.raises(json.JSONDecodeError):
        parse_json(text)
