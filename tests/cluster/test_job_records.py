"""Counting attempts by what they brought."""

from typing import Any

import pytest

from cluster.job_records import Attempt, attempts_without_progress


def attempts(*told: dict[str, Any]) -> list[Attempt]:
    fixed = {"id": "1", "nodes": ("here",), "began": "2026-11-27T00:00:00+00:00", "reached_before": 0}
    return [Attempt.model_validate({"number": number} | fixed | one) for number, one in enumerate(told, 1)]


VAIN, LOST = {"exit_code": 1, "reached": 0}, {"exit_code": None}
AWAY = {"exit_code": 75, "reached": 0, "excused": True}


@pytest.mark.parametrize(
    ("told", "count"),
    [
        ([VAIN, VAIN], 2),
        ([VAIN, {"reached": 4}], 0),
        ([VAIN, {"reached": 4, "excused": True}], 0),
        ([VAIN, AWAY, VAIN, AWAY, AWAY], 2),
        ([LOST, {"reached_before": 3, "reached": 3}], 1),  # the lost one brought three
        ([LOST, LOST, LOST], 3),
    ],
)
def test_what_brought_nothing_counts_unless_the_place_ended_it(told: list[dict[str, Any]], count: int) -> None:
    assert attempts_without_progress(attempts(*told), 0) == count


def test_a_resume_counts_anew() -> None:
    assert attempts_without_progress(attempts(VAIN, VAIN, VAIN), 2) == 1
