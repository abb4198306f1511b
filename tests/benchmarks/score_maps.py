"""All that `gavt score` says of a map (figures, official rows, sweeps) against the loop of the public evaluators, which
say three figures of it; CPU time of one core for 100 000 maps at 224×224."""

import time
from collections.abc import Callable

import numpy as np
import torch

from _official_evaluators import EVALUATORS
from pipeline.evaluate.benchmarks.benchmarks import BENCHMARKS, Wanted
from pipeline.evaluate.benchmarks.sample import BenchmarkSample
from pipeline.evaluate.benchmarks.score import Judging
from pipeline.evaluate.metrics.resize import Map, resize_map
from result import Result

MAPS, DRAWN, ROUNDS = 100_000, 50, 12
MOST_S = {"vggss": 30.0, "extended-vggss": 40.0, "music-duet": 180.0}
"""For pixels of each source a map is ranked whole, which costs more."""


def run() -> list[Result]:
    """Maps of 14×14 cells, as most models make them, on truths of one to three boxes."""
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    maps = [resize_map(random.random((14, 14)), 224) for _ in range(DRAWN)]
    samples = [_sample(random, number) for number in range(DRAWN)]
    truths = [sample.truth().astype(np.float64) for sample in samples]
    ways: dict[str, Callable[[int], object]] = {name: _ours(name, samples, maps) for name in MOST_S}
    ways["official"] = lambda at: [evaluator(maps[at], truths[at]) for evaluator in EVALUATORS.values()]
    of_all = {name: MAPS / DRAWN * sum(_least(way, at) for at in range(DRAWN)) for name, way in ways.items()}
    peer = f"the public evaluators' loop, three figures a map: {of_all['official']:.0f} s"
    return [
        Result(f"score_maps {name}, 100 000 maps", of_all[name], "s", most, of_all[name] <= most, peer)
        for name, most in MOST_S.items()
    ]


def _least(way: Callable[[int], object], at: int) -> float:
    """CPU seconds of the best of many rounds: what else runs on the machine leaves some of them alone."""
    taken = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        way(at)
        taken.append(time.process_time() - begun)
    return min(taken)


def _ours(name: str, samples: list[BenchmarkSample], maps: list[Map]) -> Callable[[int], object]:
    judging = Judging(Wanted(name, BENCHMARKS[name], "", samples, []), None)
    return lambda at: judging.judge("maps", [samples[at]], [maps[at]], thorough=True)


def _sample(random: np.random.Generator, number: int) -> BenchmarkSample:
    boxes = []
    for _ in range(random.integers(1, 4)):
        (x1, x2), (y1, y2) = (np.sort(random.integers(0, 225, 2)).tolist() for _ in range(2))
        boxes.append((x1, y1, x2, y2))
    return BenchmarkSample(str(number), tuple(boxes), group=str(number // 2))
