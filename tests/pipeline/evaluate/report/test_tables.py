"""Tables of any measure: read back as they were written, and shown with their units."""

import pytest

from pipeline.evaluate.measures.contract import Column, Headline, Row, Table, as_json, tables_of
from pipeline.evaluate.report.figures import best_figures, cell, groups_of, heading, make_tiles

SEPARATION = Table(
    "separation",
    "separation",
    (Column("sdr", "SDR", "dB"), Column("loss", "loss", "number", higher_is_better=False), Column("hits", "hits")),
    (
        Row("model", "model", {"sdr": 7.26, "loss": 0.0512, "hits": 0.9}, {"sdr": 0.31}, made_by="mask"),
        Row("mixture", "control", {"sdr": 0.04, "loss": 0.01, "hits": 0.0}),
        Row("others", "other", {"sdr": 9.1, "loss": None, "hits": None}),
        Row("ideal mask", "ceiling", {"sdr": 15.0, "loss": 0.0, "hits": 1.0}),
    ),
    40,
    headlines=(Headline("SDR", 7.26, "dB", (("mixture", 0.04),)), Headline("hits", 0.9, "share", (("chance", 0.5),))),
)


def test_tables_are_read_back_as_they_were_written() -> None:
    assert tables_of({"tables": as_json([SEPARATION])}) == [SEPARATION]


@pytest.mark.parametrize("tables", [None, [{"measure": "x"}], 3])
def test_what_is_no_table_is_said_with_its_place(tables: object) -> None:
    with pytest.raises(ValueError, match=r"^tables[.\w]*: expected a table of a measure, found"):
        tables_of({"tables": tables})


def test_figures_are_shown_in_the_unit_of_their_column() -> None:
    model, mixture, others, _ = SEPARATION.rows
    assert [heading(column.title, column.unit) for column in SEPARATION.columns] == ["SDR, dB", "loss", "hits"]
    assert [cell(model, column.name, column.unit) for column in SEPARATION.columns] == ["7.3 ± 0.3", "0.0512", "90.0"]
    assert cell(mixture, "hits", "share") == "0.0"
    assert cell(others, "loss", "number") == "–"


def test_the_best_below_the_ceiling_is_the_lowest_where_less_is_better() -> None:
    assert best_figures(SEPARATION) == {"sdr": 9.1, "loss": 0.01, "hits": 0.9}


def test_rows_stand_in_groups_of_their_kind_the_model_first_and_the_ceiling_last() -> None:
    assert [group.kind for group in groups_of(SEPARATION)] == ["model", "control", "other", "ceiling"]


def test_headlines_become_tiles_with_a_bar_for_shares() -> None:
    first, second = make_tiles([SEPARATION], [], ())
    assert (first.label, first.value, first.beside, first.bar) == ("SDR", "7.3 dB", "mixture 0.0 dB", None)
    assert (second.value, second.beside, second.bar, second.mark) == ("90 %", "chance 50 %", 0.9, 0.5)
