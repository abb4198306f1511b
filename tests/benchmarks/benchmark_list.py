"""What judging a benchmark's list costs beside the model."""

import json
import resource
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

import torch

from _realistic_samples import write_realistic
from pipeline.evaluate.benchmarks.checkpoint import BenchmarkMeasure
from pipeline.evaluate.measures.contract import Judged
from pipeline.evaluate.metrics.resize import resize_map
from pipeline.evaluate.readouts.build import build_readout
from pipeline.evaluate.registry import BenchmarkSettings
from pipeline.evaluate.samples import Chunk, EvaluationSamples
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.train.load import Trained, untrained
from result import Result

PAIRS = 192
MOST = 1.1
_AT_ONCE = 16
_CPU, _SIZE = torch.device("cpu"), 224
_NAMES = "abcdefghijk_{:06d}"
Found = TypeVar("Found")


def run() -> list[Result]:
    """Judge a G-AVTc on a list as of VGG-SS by a readout of one pass, all of the list's own figures with those of the
    public evaluators and all sweeps, without the controls that take passes of their own; and only read out the same
    batches and bring the maps to their size. CPU time of one thread is compared, without that of decoding: of a batch
    in the median, by turns, so that other work meets both, and of the table that is made of them all."""
    torch.set_num_threads(1)
    settings = load_settings("configs/experiments/gavt_c.yaml", ExperimentSettings).settings
    judged = EvaluateSettings(readouts=("attention",), saliency=("spectral_residual",))
    trained = Trained(untrained(settings, _CPU, 0), settings, 0, "none")
    with tempfile.TemporaryDirectory(prefix="gavt-") as folder:
        box = (0.2, 0.2, 0.7, 0.7)
        shards = str(write_realistic(Path(folder) / "shards", PAIRS, boxes=[box], name=_NAMES))
        listed = Path(folder) / "vggss.json"
        entries = [{"file": _NAMES.format(number), "class": "horn", "bbox": [box]} for number in range(PAIRS)]
        listed.write_text(json.dumps(entries))
        samples = EvaluationSamples.open(shards, settings, judged, _CPU)
        measure = BenchmarkMeasure(
            BenchmarkSettings(name="vggss", list=str(listed), controls=False), Judged(trained, samples, None, judged)
        )
        bare, whole, found = [], [], []
        for start in range(0, PAIRS, _AT_ONCE):
            chunk = samples.read(range(start, start + _AT_ONCE))
            bare.append(_seconds(partial(_read_out, trained, judged, chunk))[0])
            seconds, located = _seconds(partial(measure.judge, chunk))
            whole.append(seconds)
            found.append(located)
        table_s, (table,) = _seconds(partial(measure.tables, found))
        assert table.samples == PAIRS
    bare_s, whole_s = (median(seconds) * len(found) for seconds in (bare, whole))
    figure = (whole_s + table_s) / bare_s
    peer = (
        f"forward and resize of the same batches: {bare_s:.1f} s of CPU for {PAIRS} pairs (here {whole_s:.1f} s and "
        f"{table_s:.1f} s for the table)"
    )
    return [Result("benchmark_list", figure, "", MOST, figure <= MOST, peer)]


def _read_out(trained: Trained, settings: EvaluateSettings, chunk: Chunk) -> None:
    for heat in build_readout("attention", settings)(trained.system, chunk.judged.inputs).numpy():
        resize_map(heat, _SIZE)


def _seconds(work: Callable[[], Found]) -> tuple[float, Found]:
    """CPU seconds of this process, and what came of them."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    found = work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, found
