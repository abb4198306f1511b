"""What an evaluation decodes: all that it is judged by shares one way through the samples."""

import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from _realistic_samples import write_realistic
from pipeline.evaluate.samples import EvaluationSamples, plan_evaluation
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.experiment import ExperimentSettings
from pipeline.stream.loader import Loader
from pipeline.stream.read_plan import plan_reading
from pipeline.stream.settings import DataSettings
from result import Result

SAMPLES = 2000
WORKERS = 2
MOST = 1.1
ROUNDS = 5
_AT_ONCE = 64


def run() -> list[Result]:
    """Go with two workers through 2 000 frames with boxes as an evaluation by alignment and by maps does, and read the
    same samples once as a validation in training does. What the workers take of the processors is compared, their start
    included, in the median of some rounds. Nothing is judged meanwhile: workers that
    wait for a model for minutes take CPU time too (a whole evaluation's once took 1.34 of one pass), which this leaves
    out. `test_sweep.py` counts what a whole evaluation decodes."""
    data = DataSettings(workers=WORKERS)
    settings, judged = ExperimentSettings(data=data), EvaluateSettings()
    with tempfile.TemporaryDirectory(prefix="gavt-") as folder:
        shards = str(write_realistic(Path(folder) / "shards", SAMPLES, boxes=[(0.2, 0.2, 0.7, 0.7)]))
        passes, evaluations = [], []
        for _ in range(ROUNDS):  # in turns, so that other work meets both
            passes.append(_of_the_workers(lambda: _read(shards, settings)))
            evaluations.append(_of_the_workers(lambda: _go_through(shards, settings, judged)))
    one_pass_s, wall_s = (median(figures) for figures in zip(*passes, strict=True))
    evaluation_s, all_s = (median(figures) for figures in zip(*evaluations, strict=True))
    peer = (
        f"one pass of the loader: {one_pass_s:.1f} s of its {WORKERS} workers, in {wall_s:.1f} s (here "
        f"{evaluation_s:.1f} s, in {all_s:.1f} s, with the frames in two geometries)"
    )
    figure = evaluation_s / one_pass_s
    return [Result("evaluate_decoding", figure, "", MOST, figure <= MOST, peer)]


def _go_through(shards: str, settings: ExperimentSettings, judged: EvaluateSettings) -> None:
    plan = plan_evaluation(shards, settings, judged, settings.data, digests=True)
    samples = EvaluationSamples(plan, judged, torch.device("cpu"))
    assert sum(map(len, samples.go_through(samples.chunks(settings.task.group)))) == SAMPLES


def _read(shards: str, settings: ExperimentSettings) -> None:
    plan = plan_reading(shards, settings.features, settings.data, seed=0, augment=False)
    pieces = (range(start, min(start + _AT_ONCE, len(plan))) for start in range(0, len(plan), _AT_ONCE))
    with Loader(plan, _AT_ONCE) as loader:
        for _ in loader.batches(pieces):
            pass


def _of_the_workers(work: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds of the processes that some work starts, and the seconds that it takes."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
    return seconds, time.perf_counter() - began
