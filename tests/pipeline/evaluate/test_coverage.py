"""How much of what was listed is judged."""

import json
from pathlib import Path

import pytest

from pipeline.evaluate.coverage import coverage_of, said_of_coverage

SHARD = {"name": "shard-000000.tar", "samples": 6, "videos": 3, "bytes": 1, "sha256": "0"}


def write_totals(folder: Path, videos: int, reasons: dict[str, int]) -> str:
    failed = sum(reasons.values())
    totals = {
        "samples": 6,
        "videos": videos,
        "failed": failed,
        "layouts": ["frame"],
        "plan_hash": "",
        "shards": [SHARD],
    }
    (folder / "dataset.json").write_text(json.dumps({**totals, "reasons": reasons, "examples": {}}))
    return str(folder)


@pytest.mark.parametrize(
    ("videos", "reasons", "judged", "sentence"),
    [
        (3, {}, 6, "coverage: 3 of 3 listed videos are in the set"),
        (
            7,
            {"damaged": 1, "missing": 3},
            6,
            "coverage: 3 of 7 listed videos are in the set; missing: 3 missing, 1 damaged",
        ),
        (
            3,
            {},
            2,
            "coverage: 3 of 3 listed videos are in the set; 2 of its 6 samples are judged (evaluate.max_samples)",
        ),
    ],
)
def test_what_is_missing_is_counted_by_reason(
    tmp_path: Path, videos: int, reasons: dict[str, int], judged: int, sentence: str
) -> None:
    assert said_of_coverage(coverage_of(write_totals(tmp_path, videos, reasons), 6, judged)) == sentence


def test_of_tars_that_others_wrote_nobody_knows_the_list(tmp_path: Path) -> None:
    said = said_of_coverage(coverage_of(str(tmp_path), 6, 6))
    assert said == "coverage is unknown: no list says what these tars should hold"
