"""What the verbs print: tables for people, one JSON object on the last line of stdout for programs."""

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

from cluster.errors import StorageError
from jobs.unread import Unread

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON on the last line of stdout.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", "-s", help="Override a setting: a.b=value; repeatable.")]

_LOG_WIDTH = 140
"""Columns where there is no terminal; rich would take 80 and cut the tables' names."""


def console(as_json: bool = False) -> Console:
    """Where tables and progress go: stdout, or stderr when stdout is for a program."""
    # names of files may hold `[b]` or `:ok:`, which are no markup
    screen = Console(stderr=as_json, highlight=False, markup=False, emoji=False)
    if screen.is_terminal:
        return screen
    return Console(stderr=as_json, highlight=False, markup=False, emoji=False, width=_LOG_WIDTH)


def print_json(result: Mapping[str, Any]) -> None:
    """The verb's result as one line of JSON on stdout.

    Raises:
        StorageError: it can't be written there.
    """
    sys.stdout.write(json.dumps(result, allow_nan=False) + "\n")
    sys.stdout.flush()
    if isinstance(sys.stdout, Unread) and sys.stdout.lost:
        raise StorageError("stdout: the result can't be written, its reader is gone or the disk is full")
