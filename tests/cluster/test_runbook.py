"""The runbook knows every exit code and every event that the code knows, and no others."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from cluster import exit_codes
from pipeline.stream.worker import TOO_MUCH_MEMORY

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "cluster/README.md").read_text(encoding="utf-8")
CODES = {name: value for name, value in vars(exit_codes).items() if isinstance(value, int)}
CALLS = [
    node
    for part in ("cluster", "pipeline", "jobs")
    for file in (ROOT / part).rglob("*.py")
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    if isinstance(node, ast.Call)
]


def table(heading: str) -> list[str]:
    """First cells of the table below a heading."""
    section = RUNBOOK.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\| `?(.+?)`? \|", section, re.MULTILINE)[1:]


def constants(node: ast.AST, kind: type) -> Iterator[object]:
    """The constants of an expression that may be its value."""
    if isinstance(node, ast.IfExp):
        yield from constants(node.body, kind)
        yield from constants(node.orelse, kind)
    elif isinstance(node, ast.Constant) and type(node.value) is kind:
        yield node.value
    elif isinstance(node, ast.Name) and kind is int and node.id in CODES:
        yield CODES[node.id]


def test_every_exit_code_is_in_the_runbook() -> None:
    ends = {"SystemExit", "sys.exit", "os._exit", "typer.Exit"}
    used = {
        code
        for call in CALLS
        if ast.unparse(call.func) in ends
        for argument in call.args
        for code in constants(argument, int)
    }
    known = {str(code) for code in used | set(CODES.values())}
    assert {"0", "1", "2", "75", "76", "130"} <= known
    told = table("Exit codes")
    assert known - set(told) == set()
    assert [code for code in told if code not in known] == ["128 + *n*"]
    assert f"ends itself with {TOO_MUCH_MEMORY}" in RUNBOOK


def test_every_event_is_in_the_runbook_and_no_other() -> None:
    events = set()
    for call in CALLS:
        match call:
            case ast.Call(func=ast.Attribute(attr="event"), args=[name, *_]):
                events |= set(constants(name, str))
            case ast.Call(func=ast.Name(id="append_event"), args=[_, name, *_]):
                events |= set(constants(name, str))
            case ast.Call(
                func=ast.Attribute(attr="write", value=ast.Call(func=ast.Name(id="EventLog"))), args=[name, *_]
            ):
                events |= set(constants(name, str))
    assert {"start", "stop", "end", "hang", "rank_failed"} <= events
    assert set(table("Events")) == events


def test_every_test_that_the_table_of_faults_names_is_there() -> None:
    section = RUNBOOK.split("## Faults that were tried\n", 1)[1].split("\n## ", 1)[0]
    named = re.findall(r"`(\S+)::(test_\w+)`", section)
    assert len(named) > 10
    file = ""
    for place, name in named:
        file = file if place == "…" else place
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"{file}::{name}"
