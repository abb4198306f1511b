"""How far `gavt score`'s own cIoU lies from what the public evaluators' code says of the same map, and whether its rows
in their names are that code's. As a program it prints the table of the largest differences."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from _official_evaluators import Array, ezvsl, is3_adaptive, lvs  # noqa: E402
from pipeline.evaluate.benchmarks.judged_map import judge_map  # noqa: E402
from pipeline.evaluate.benchmarks.sample import TRUTH_SIZE, BenchmarkSample  # noqa: E402
from pipeline.evaluate.metrics.resize import resize_map  # noqa: E402
from result import Result  # noqa: E402

EACH = 300
_SIDE = TRUTH_SIZE
_Draw = Callable[[np.random.Generator], Array]
KINDS: dict[str, _Draw] = {
    "no two values equal": lambda random: random.random((_SIDE, _SIDE)),
    "14×14 cells, bilinear": lambda random: resize_map(random.random((14, 14)), _SIDE),
    "7×7 cells, bilinear": lambda random: resize_map(random.random((7, 7)), _SIDE),
    "7×7 cells, nearest": lambda random: np.kron(random.random((7, 7)), np.ones((32, 32))),
    "256 levels": lambda random: np.floor(resize_map(random.random((14, 14)), _SIDE) * 256),
    "4 levels": lambda random: np.floor(random.random((_SIDE, _SIDE)) * 4),
    "nothing but a spot": lambda random: np.maximum(resize_map(random.random((7, 7)), _SIDE) - 0.8, 0),
    "constant": lambda random: np.ones((_SIDE, _SIDE)),
}
COLUMNS = ("LVS, > median", "EZ-VSL, ≥ median", "IS3, cIoU_adap")


@dataclass(frozen=True)
class Differences:
    """Of one kind of map, for each column.

    Attributes:
        own: [C] the largest difference of the own definition from the official code.
        row: [C] that of the row in the evaluator's name.
    """

    own: Array
    row: Array


def differences(draw: _Draw, votes: int, seed: int) -> Differences:
    """On random boxes of all kinds: several, at the border, over each other, without area; of annotators who vote."""
    random, own, row = np.random.default_rng(seed), np.zeros(3), np.zeros(3)
    for number in range(EACH):
        corners = random.integers(0, _SIDE + 1, (random.integers(0, 4), 4)).tolist()
        sample = BenchmarkSample(str(number), tuple((a, b, c, d) for a, b, c, d in corners), votes=votes)
        heat, truth = draw(random), sample.truth().astype(np.float64)
        judged = judge_map(heat, sample, confidence=0.0, thorough=True)
        assert judged.official is not None
        by_code = np.array([lvs(heat, truth), ezvsl(heat, truth), is3_adaptive(heat, truth)])
        by_row = np.array([judged.official.above, judged.official.from_median, judged.official.adaptive])
        by_us = np.array([judged.score.ciou, judged.score.ciou, judged.score.ciou_adap])
        own, row = np.maximum(own, np.abs(by_us - by_code)), np.maximum(row, np.abs(by_row - by_code))
    return Differences(own, row)


def run() -> list[Result]:
    """The rows in their names are their code's whatever the map; the own cIoU is LVS' where no two values are equal."""
    torch.set_num_threads(1)
    peer = "the public evaluators' code written out"
    row = max(float(differences(draw, votes, 1).row.max()) for draw in KINDS.values() for votes in (1, 2))
    own = float(differences(KINDS["no two values equal"], 1, 2).own[0])
    return [
        Result("score_official rows", row, "", 1e-6, row <= 1e-6, peer),
        Result("score_official own cIoU", own, "", 1e-6, own <= 1e-6, peer),
    ]


if __name__ == "__main__":
    print("| maps |", " | ".join(COLUMNS), "|")
    print("|---|" + "---|" * len(COLUMNS))
    for kind, draw in KINDS.items():
        largest = np.maximum(*(differences(draw, votes, 1).own for votes in (1, 2)))
        print(f"| {kind} |", " | ".join(f"{value:.1g}" if value < 0.01 else f"{value:.2f}" for value in largest), "|")
