"""Others' published figures: beside the tables that have their columns, and nowhere else."""

from typing import get_args

import pytest

from pipeline.evaluate.benchmarks.benchmarks import BENCHMARKS
from pipeline.evaluate.benchmarks.figures import columns_of
from pipeline.evaluate.measures.contract import Column, Row, Table
from pipeline.evaluate.published import PUBLISHED, published_without_table, with_published
from pipeline.evaluate.settings import PublishedOn


def table(measure: str, *columns: str) -> Table:
    own = Row("model", "model", dict.fromkeys(columns, 0.5))
    return Table(measure, measure, tuple(Column(name, name) for name in columns), (own,), 10)


def test_benchmarks_have_the_columns_of_what_was_published_on_them() -> None:
    for name, published in ((name, one) for name, several in PUBLISHED.items() for one in several):
        if not published.measure:
            columns = columns_of(BENCHMARKS[name].figures, has_groups=name.endswith("duet"))
            assert set(published.columns) <= {column.name for column in columns}
    assert set(get_args(PublishedOn)) == {name for name, (one, *_) in PUBLISHED.items() if one.measure}


def test_rows_of_others_stand_behind_those_of_the_measure_that_has_their_columns() -> None:
    events = table("events", "accuracy", "foreground")
    blind = table("events", "foreground")  # another table of the same measure
    other = table("classification", "accuracy")
    found = with_published([events, blind, other], ["ave"])
    assert [row.name for row in found[0].rows][:2] == ["model", "AVEL (ECCV 2018), supervised, as published"]
    assert {row.kind for row in found[0].rows[1:]} == {"other"}
    assert found[0].rows[1].values == {"accuracy": pytest.approx(0.727)}
    assert found[1:] == [blind, other]
    assert with_published([events], []) == [events]


def test_figures_of_others_that_no_table_has_the_columns_of_are_told() -> None:
    tables = [table("events", "accuracy", "foreground"), table("actions", "foreground")]
    (said,) = published_without_table(tables, ["ave", "ucf101"])
    assert said.startswith("published figures of ucf101 are left out: they belong to a table of actions ")


def test_decibels_stay_as_they_are_and_what_was_not_printed_is_not_known() -> None:
    (separation,) = with_published([table("separation", "sdr", "sir", "sar")], ["music-separation"])
    assert separation.rows[1].values == {"sdr": 7.26, "sir": 12.25, "sar": 11.11}
    (aligned,) = (row for row in PUBLISHED["vggss"][0].rows if row.name.startswith("SSL-Align"))
    assert aligned.values == {"ciou": pytest.approx(0.3994), "auc": None}
