"""Samples a second of `gavt train` against the paper's own way of training, of G-AVTc at the thesis' input sizes."""

import tempfile
from itertools import count
from pathlib import Path

from _realistic_samples import write_realistic
from _training_contest import HandLoop, contest
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.stream.loader import Loader
from pipeline.stream.read_plan import plan_reading
from result import Result

CONFIG = Path(__file__).parents[2] / "configs/experiments/gavt_c.yaml"
LEAST = 1.5
STEPS, BLOCK, BATCH = 10, 2, 16
SAMPLES = 192
BEST_HERE = ["train.precision=bf16"]
"""On a CPU with bf16 instructions; compiled blocks take longer here, by a seventh of CPU time."""


def run() -> list[Result]:
    """The thesis trains in float32, eager, with torch's dropout, without checkpoints, and decodes in the step's own
    process."""
    with tempfile.TemporaryDirectory(prefix="gavt-") as place:
        folder = Path(place)
        shards = write_realistic(folder / "shards", SAMPLES, 64)
        words = [f"data.train={shards}", f"train.steps={STEPS}", f"train.log_every={BLOCK}"]
        words += [f"train.batch_size={BATCH}", "train.checkpoint_every=1000", *BEST_HERE]
        settings = load_settings(str(CONFIG), ExperimentSettings, words).settings
        plan = plan_reading(str(shards), settings.features, settings.data, settings.seed, augment=True)
        with Loader(plan, BATCH) as loader:  # without workers: it decodes where it is asked
            batches = loader.batches(range(at, at + BATCH) for at in count(0, BATCH))
            times = contest(settings, HandLoop(settings, batches, plain_dropout=True), folder / "run")
    figure = times.by_hand / times.ours
    peer = f"float32, eager, decoding in the step: {BATCH / times.by_hand:.2f} samples/s; ours {BATCH / times.ours:.2f}"
    return [Result("paper_training", figure, "", LEAST, figure >= LEAST, peer)]
