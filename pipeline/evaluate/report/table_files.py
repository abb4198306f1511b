"""Tables as files for other programs and for papers: CSV, a line a figure, and LaTeX with booktabs."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence

from pipeline.evaluate.measures.contract import Row, Table
from pipeline.evaluate.report.figures import best_figures, cell, groups_of, heading

_COLUMNS = ("measure", "table", "row", "kind", "made_by", "figure", "title", "unit", "value", "half_of_interval")
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "±": r"$\pm$",
    "×": r"$\times$",
    "÷": r"$\div$",
    "−": "$-$",
    "→": r"$\rightarrow$",
    "≥": r"$\geq$",
    "–": "--",
    "’": "'",
    "\N{NO-BREAK SPACE}": "~",
}
_ESCAPED = re.compile("|".join(map(re.escape, _SPECIAL)))


def as_csv(tables: Sequence[Table], runs: Sequence[str] = ()) -> str:
    """All figures, as they are: shares in 0–1. A value that can't be said is empty.

    Args:
        runs: names of the runs over which the values are means; each has a column of its own.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*_COLUMNS, "samples", *runs))
    for table in tables:
        for row in table.rows:
            for column in table.columns:
                of_runs = row.of_runs.get(column.name, [None] * len(runs))
                told = (
                    table.measure,
                    table.title,
                    row.name,
                    row.kind,
                    row.made_by,
                    column.name,
                    column.title,
                    column.unit,
                )
                numbers = (row.values.get(column.name), row.spread.get(column.name), table.samples, *of_runs)
                writer.writerow([_one_line(one) if isinstance(one, str) else one for one in (*told, *numbers)])
    return text.getvalue()


def as_latex(tables: Sequence[Table], said: Sequence[str] = ()) -> str:
    """A `table` of each that has rows, for a preamble with `\\usepackage{booktabs}`. Rows stand in groups of a kind;
    the best figure of a column below the ceiling is bold.

    Args:
        said: sentences that belong beside all figures, which become comments, as do the tables' own.
    """
    lines = ["% \\usepackage{booktabs}", *(f"% {_one_line(sentence)}" for sentence in said)]
    seen: Counter[str] = Counter()
    for table in (one for one in tables if one.rows):
        lines += ["", *(f"% {_one_line(sentence)}" for sentence in (*table.notes, *table.warnings))]
        seen[table.measure] += 1
        number = seen[table.measure]
        lines += _table(table, f"tab:{table.measure}" + (f"-{number}" if number > 1 else ""))
    return "\n".join(lines) + "\n"


def _table(table: Table, label: str) -> list[str]:
    columns, best = table.columns, best_figures(table)
    shares = "; shares in per cent" if any(column.unit == "share" for column in columns) else ""
    over_runs = next((len(values) for row in table.rows for values in row.of_runs.values()), 0)
    means = f"; means of {over_runs} runs ± half of the 95 % interval" if over_runs > 1 else ""
    caption = f"{table.title[:1].upper()}{table.title[1:]}, {table.samples:,} samples{shares}{means}."
    lines = [
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{escape(caption)}}}",
        f"  \\label{{{re.sub(r'[^A-Za-z0-9:-]', '-', label)}}}",
        f"  \\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"    \toprule",
        "    " + " & ".join(["", *(escape(heading(column.title, column.unit)) for column in columns)]) + r" \\",
    ]
    for group in groups_of(table):
        lines.append(r"    \midrule")
        lines.append(f"    \\multicolumn{{{len(columns) + 1}}}{{l}}{{\\emph{{{escape(group.title)}}}}} \\\\")
        for row in group.rows:
            figures = []
            for column in columns:
                text, value = escape(cell(row, column.name, column.unit)), row.values.get(column.name)
                is_best = row.kind != "ceiling" and value is not None and value == best.get(column.name)
                figures.append(f"\\textbf{{{text}}}" if is_best else text)
            lines.append("    " + " & ".join([escape(_name(row)), *figures]) + r" \\")
    return [*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]


def _name(row: Row) -> str:
    return f"{row.name} ({row.made_by})" if row.made_by and row.made_by != row.name else row.name


def escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return _ESCAPED.sub(lambda found: _SPECIAL[found.group()], _one_line(text))


def _one_line(text: str) -> str:
    return " ".join(text.split())
