"""Tables of figures on the terminal."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as Shown

if TYPE_CHECKING:
    from pipeline.evaluate.measures.contract import Column, Row, Table

_STYLES = {"readout": None, "model": "bold", "control": "cyan", "ceiling": "dim", "other": "magenta"}


def print_tables(tables: "Iterable[Table]", screen: Console) -> None:
    """Print tables, each with what is to be said of it."""
    for table in tables:
        if table.rows:
            screen.print(_shown(table))
        for sentence in table.notes:
            screen.print(sentence, soft_wrap=True)
        screen.print()


def _shown(table: "Table") -> Shown:
    """A table for the terminal, its rows in groups of a kind."""
    from pipeline.evaluate.report.figures import heading

    columns = [heading(column.title, column.unit) for column in table.columns]
    words = {"made by": [row.made_by for row in table.rows], "passes a map": [row.cost for row in table.rows]}
    words = {title: column for title, column in words.items() if any(column)}
    shown = Shown(f"{table.title}, {table.samples:,} samples", *columns, *words, box=None, pad_edge=False)
    for column in shown.columns[1 : 1 + len(columns)]:
        column.justify = "right"
    kind = None
    for place, row in enumerate(table.rows):
        if kind is not None and row.kind != kind:
            shown.add_section()
        kind = row.kind
        figures = [_figures(row, column) for column in table.columns]
        shown.add_row(row.name, *figures, *(column[place] or "" for column in words.values()), style=_STYLES[kind])
    return shown


def _figures(row: "Row", column: "Column") -> str:
    """A figure, and below it those of single runs where they are not all the same."""
    from pipeline.evaluate.report.figures import cell, of_each_run

    each = of_each_run(row, column.name, column.unit)
    return cell(row, column.name, column.unit) + (f"\n{' '.join(each)}" if each else "")
