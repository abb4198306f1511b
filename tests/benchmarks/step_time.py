"""A step of `gavt train`, with data, log and checkpoints, against a loop written by hand with batches in memory."""

import tempfile
from itertools import cycle
from pathlib import Path

import torch

from _realistic_samples import write_realistic
from _training_contest import HandLoop, contest
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.stream.loader import Loader
from pipeline.stream.read_plan import plan_reading
from result import Result

CONFIG = Path(__file__).parents[2] / "configs/experiments/claims_small.yaml"
MOST = 1.03
STEPS, BLOCK = 80, 8
SAMPLES = 512


def run() -> list[Result]:
    """The smallest G-AVT with batches of 64 in float32; checkpoints every quarter of the run. A core is left to the
    loader, as it has beside a GPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - 1))
    try:
        with tempfile.TemporaryDirectory(prefix="gavt-") as place:
            folder = Path(place)
            size = load_settings(str(CONFIG), ExperimentSettings).settings.features.audio_samples
            shards = write_realistic(folder / "shards", SAMPLES, 128, 128, size)
            words = [f"data.train={shards}", f"train.steps={STEPS}", f"train.log_every={BLOCK}"]
            words += [f"train.checkpoint_every={STEPS // 4}"]
            settings = load_settings(str(CONFIG), ExperimentSettings, words).settings
            plan = plan_reading(str(shards), settings.features, settings.data, settings.seed, augment=True)
            batch = settings.train.batch_size
            with Loader(plan, batch) as loader:
                in_memory = list(loader.batches(range(at, at + batch) for at in range(0, 4 * batch, batch)))
            times = contest(settings, HandLoop(settings, cycle(in_memory)), folder / "run")
    finally:
        torch.set_num_threads(threads)
    figure = times.ours / times.by_hand
    peer = f"a plain PyTorch loop with batches in memory: {times.by_hand * 1000:.0f} ms a step"
    return [Result("step_time", figure, "", MOST, figure <= MOST, peer)]
