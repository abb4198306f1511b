"""What activation checkpointing saves and costs: G-AVT small, forward and backward, every block recomputed or none."""

import time
from pathlib import Path

import torch

from peak_bytes import peak_bytes
from pipeline.experiment import ExperimentSettings
from pipeline.models.recompute import Mode, set_checkpointing
from pipeline.settings.load import load_settings
from pipeline.train.load import untrained
from pipeline.train.system import example_batch
from result import Result

CONFIG = Path(__file__).parents[2] / "configs/experiments/gavt_small.yaml"
SAMPLES = 2
ROUNDS = 4
MOST_MEMORY = 0.5
MOST_TIME = 1.35


def run() -> list[Result]:
    """Bytes that a step holds at most beside parameters, their gradients and the batch, and the time that it takes, in
    turns.

    Every allocation of torch counts, as its profiler (on a GPU its allocator) reports it, so what is held for a moment
    while a block is recomputed counts too.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several would count the time for which they wait for each other
    try:
        return measure(SAMPLES, ROUNDS)
    finally:
        torch.set_num_threads(threads)


def measure(samples: int, rounds: int) -> list[Result]:
    """The same for so many samples."""
    settings = load_settings(str(CONFIG), ExperimentSettings).settings
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    system = untrained(settings, device, settings.seed).train()
    inputs, targets = example_batch(system, settings, samples, device)
    for parameter in system.parameters():
        parameter.grad = torch.zeros_like(parameter)  # so that they are there from the beginning, and not counted

    def step(mode: Mode) -> None:
        set_checkpointing(system, mode)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss, _ = system(inputs, targets)
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize()

    # on a CPU the time that it took from a single core, which others that run there change little
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    modes: tuple[Mode, ...] = ("none", "full")
    peak = {mode: peak_bytes(lambda mode=mode: step(mode), device) for mode in modes}
    seconds: dict[Mode, list[float]] = {mode: [] for mode in modes}
    for _ in range(rounds):
        for mode in modes:
            begun = clock()
            step(mode)
            seconds[mode].append(clock() - begun)
    memory = peak["full"] / peak["none"]
    times = {mode: min(each) for mode, each in seconds.items()}
    ratio = times["full"] / times["none"]
    kept = (
        f"all activations kept: {peak['none'] / 1e6:.0f} MB for {samples} samples; recomputed {peak['full'] / 1e6:.0f}"
    )
    slow = f"all activations kept: {times['none']:.3f} s a step; recomputed {times['full']:.3f} s"
    return [
        Result("activation_memory", memory, "", MOST_MEMORY, memory <= MOST_MEMORY, kept),
        Result("activation_memory time", ratio, "", MOST_TIME, ratio <= MOST_TIME, slow),
    ]
