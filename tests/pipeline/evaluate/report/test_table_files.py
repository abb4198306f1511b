"""Tables for other programs and for papers."""

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluate.measures.contract import Column, Row, Table
from pipeline.evaluate.report.table_files import as_csv, as_latex, escape

COLUMNS = (Column("ciou", "cIoU_adap"), Column("gain", "SI-SDR gain", "dB"), Column("error", "error", "number", False))
TABLE = Table(
    "localisation",
    "maps & boxes",
    COLUMNS,
    (
        Row("class_token", "readout", {"ciou": 0.4, "gain": None, "error": 0.1}, made_by="class_token"),
        Row("model", "model", {"ciou": 0.5, "gain": 2.0, "error": 0.25}, {"ciou": 0.021}, made_by="a_readout"),
        Row("centre, disc", "control", {"ciou": 0.34, "gain": 0.0, "error": 0.5}),
        Row("ceiling", "ceiling", {"ciou": 1.0, "gain": 9.0, "error": 0.0}),
    ),
    5158,
    notes=("100 % of\nthem",),
    warnings=("be careful",),
)


def test_a_csv_has_a_line_for_each_figure_as_it_is() -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv([TABLE]))))
    assert len(lines) == 4 * 3
    found = {(line["row"], line["figure"]): line for line in lines}
    assert found["model", "ciou"] == {
        "measure": "localisation",
        "table": "maps & boxes",
        "row": "model",
        "kind": "model",
        "made_by": "a_readout",
        "figure": "ciou",
        "title": "cIoU_adap",
        "unit": "share",
        "value": "0.5",
        "half_of_interval": "0.021",
        "samples": "5158",
    }
    assert found["class_token", "gain"]["value"] == ""
    assert found["centre, disc", "gain"]["value"] == "0.0"


def test_a_csv_of_several_runs_has_a_column_for_each() -> None:
    row = Row("model", "model", {"ciou": 0.2}, {"ciou": 1.27}, of_runs={"ciou": [0.1, 0.3]})
    (line,) = csv.DictReader(io.StringIO(as_csv([Table("m", "t", COLUMNS[:1], (row,), 4)], ["a", "b"])))
    assert (line["value"], line["half_of_interval"], line["a"], line["b"]) == ("0.2", "1.27", "0.1", "0.3")


def test_a_latex_table_has_rows_by_kind_figures_with_their_spread_and_the_best_bold() -> None:
    text = as_latex([TABLE], ["label-free"])
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    assert [line.strip() for line in body.strip().splitlines()[1:]] == [
        r"& cIoU\_adap & SI-SDR gain, dB & error \\",
        r"\midrule",
        r"\multicolumn{4}{l}{\emph{Model}} \\",
        r"model (a\_readout) & \textbf{50.0 $\pm$ 2.1} & \textbf{2.0} & 0.25 \\",
        r"\midrule",
        r"\multicolumn{4}{l}{\emph{Readouts}} \\",
        r"class\_token & 40.0 & -- & \textbf{0.1} \\",
        r"\midrule",
        r"\multicolumn{4}{l}{\emph{Controls}} \\",
        r"centre, disc & 34.0 & 0.0 & 0.5 \\",
        r"\midrule",
        r"\multicolumn{4}{l}{\emph{Ceiling}} \\",
        r"ceiling & 100.0 & 9.0 & 0 \\",
    ]
    assert r"\caption{Maps \& boxes, 5,158 samples; shares in per cent.}" in text
    assert [line for line in text.splitlines() if line.startswith("%")] == [
        r"% \usepackage{booktabs}",
        "% label-free",
        "% 100 % of them",
        "% be careful",
    ]


def test_labels_of_several_tables_of_a_measure_differ_and_tables_without_rows_are_left_out() -> None:
    text = as_latex([TABLE, Table("none", "n", (), (), 0), TABLE])
    assert len(set(re.findall(r"\\label\{(.*)\}", text))) == len(re.findall(r"\\begin\{table\}", text)) == 2


@given(st.text())
def test_nothing_of_a_text_is_left_that_latex_would_run(text: str) -> None:
    left = re.sub(r"\\text\w+\{\}|\$\\?[a-z-]+\$|\\[&%$#_{}]", "", escape(text))
    assert not set(left) & set("\\&%$#_{}^\n")


@pytest.mark.parametrize(
    ("text", "said"), [("a_b ~ 5 % ± 2", r"a\_b \textasciitilde{} 5 \% $\pm$ 2"), ("\\input", r"\textbackslash{}input")]
)
def test_special_signs_are_printed(text: str, said: str) -> None:
    assert escape(text) == said
