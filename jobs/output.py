"""What the verbs print: tables for people, one JSON object on the last line of stdout for programs."""

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from cluster.errors import StorageError
from cluster.masking import mask_urls
from cluster.terminal import printable
from jobs.unread import Unread
from pipeline.settings.shipped import shipped

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON on the last line of stdout.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", "-s", help="Override a setting: a.b=value; repeatable.")]


def _names_of_settings(begun: str) -> list[str]:
    return [name for name in shipped() if name.startswith(begun)]


SettingsFile = Annotated[
    str,
    typer.Argument(
        help="Settings file (YAML), local or s3://, or the name of one of gavt's own: gavt_c, data/sync_movers.",
        autocompletion=_names_of_settings,
    ),
]

_LOG_WIDTH = 140
"""Columns where there is no terminal; rich would take 80 and cut the tables' names."""


def console(as_json: bool = False) -> Console:
    """Where tables and progress go: stdout, or stderr when stdout is for a program."""
    # names of files may hold `[b]` or `:ok:`, which are no markup
    screen = _Screen(stderr=as_json, highlight=False, markup=False, emoji=False)
    if screen.is_terminal:
        return screen
    return _Screen(stderr=as_json, highlight=False, markup=False, emoji=False, width=_LOG_WIDTH)


class _Screen(Console):
    """All text comes through here, the cells of tables too, before rich adds colours to it."""

    def render_str(self, text: str, **how: Any) -> Text:
        """See `Console.render_str`."""
        return super().render_str(printable(text), **how)


def complain(sentence: str) -> None:
    """A sentence on stderr."""
    sys.stderr.write(printable(f"gavt: {sentence}\n"))
    sys.stderr.flush()


def print_json(result: Mapping[str, Any]) -> None:
    """The verb's result as one line of JSON on stdout, the secrets of URLs masked.

    Raises:
        StorageError: it can't be written there.
    """
    sys.stdout.write(mask_urls(json.dumps(result, allow_nan=False)) + "\n")
    sys.stdout.flush()
    if isinstance(sys.stdout, Unread) and sys.stdout.lost:
        raise StorageError("stdout: the result can't be written, its reader is gone or the disk is full")
