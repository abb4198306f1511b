"""What files, labels and messages say reaches a terminal as letters, not as commands to it."""

import logging
import sys

import pytest
from rich.table import Table

from jobs.cli import main
from jobs.output import complain, console

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b1m\r"


def assert_harmless(said: str) -> None:
    assert "owned" in said
    assert "\\x1b]0;owned\\x07" in said.replace("\n", "")
    assert not set(said) & set("\x1b\x07\x9b\r")


def test_lines_cells_and_titles_show_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("name", f"{EVIL}", title=EVIL)
    table.add_row("a", EVIL)
    for thing in (EVIL, table):
        console().print(thing)
        assert_harmless(capsys.readouterr().out)
    complain(EVIL)
    assert_harmless(capsys.readouterr().err)


def test_errors_warnings_and_tracebacks_show_them_too(capsys: pytest.CaptureFixture[str], tmp_path: object) -> None:
    with pytest.raises(SystemExit):
        main(["inspect", f"{tmp_path}/{EVIL}", "--debug"])
    assert_harmless(capsys.readouterr().err)
    assert logging.lastResort is not None
    record = logging.LogRecord("a", logging.WARNING, "f", 1, "%s", (EVIL,), None)
    sys.stderr.write(logging.lastResort.format(record))
    assert_harmless(capsys.readouterr().err)
