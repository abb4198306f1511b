"""When experiments say that a claim holds."""

import pytest

from pipeline.claims.settings import ClaimSettings, FigureSettings
from pipeline.claims.verdict import figure_of, judge
from pipeline.errors import RunError
from pipeline.evaluate.measures.contract import Column, Row, Table, as_json

CLAIM = ClaimSettings.model_validate(
    {"claim": "a beats b", "source": "x", "better": "a", "sides": {"b": {}, "a": {}, "c": {}}, "experiments": {}}
)


@pytest.mark.parametrize(
    ("a", "b", "c", "answer"),
    [
        ([0.9, 0.91, 0.92], [0.5, 0.52, 0.51], [0.7, 0.7, 0.7], "holds"),
        ([0.9, 0.91, 0.92], [0.5, 0.52, 0.51], [0.95, 0.96, 0.97], "contradicted"),
        ([0.9, 0.5, 0.7], [0.5, 0.9, 0.6], [0.1, 0.1, 0.1], "undecided"),
        ([0.9], [0.1], [0.1], "undecided"),  # one seed says nothing of the spread
    ],
)
def test_a_claim_holds_where_the_better_side_wins_by_more_than_the_spread_of_seeds(a, b, c, answer):
    verdict = judge(CLAIM, {"a": a, "b": b, "c": c})
    assert verdict.answer == answer
    assert list(verdict.figures) == ["a", "b", "c"]


def test_a_figure_is_found_by_table_row_and_column_and_a_missing_one_is_named():
    table = Table("localisation", "t", (Column("pointing", "P"),), (Row("model", "model", {"pointing": 0.25}),), 1)
    evaluation = {"tables": as_json([table])}
    assert figure_of(evaluation, FigureSettings(), None, "x") == 0.25
    with pytest.raises(RunError, match="here: expected a figure pointing of the row attention .* found the rows model"):
        figure_of(evaluation, FigureSettings(), "attention", "here")
