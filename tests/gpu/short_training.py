"""A few steps of training on noise, as `gavt train --dry-run` does them, with what the GPU's allocator saw."""

import gc
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from cluster.process_group import ProcessGroup, join_process_group
from pipeline.experiment import ExperimentSettings
from pipeline.plan.machines import GIB
from pipeline.settings.load import load_settings
from pipeline.train.dry_run import DryRun, dry_run

ROOT = Path(__file__).parents[2]
_SMALL_INPUTS = "features: {frame_size: 32, audio_samples: 4095, stft_frame: 254, stft_hop: 128, frequency_bins: 32}\n"
TINY = f"""
name: tiny
{_SMALL_INPUTS}
model:
  visual_embedder: {{kind: convolution, widths: [8, 16, 16]}}
  audio_embedder: {{kind: convolution, widths: [8, 16, 16]}}
  width: 32
  feed_forward: 64
  layers: 2
  heads: 2
  norm_first: true
  dropout: 0.1
train: {{steps: 1000, batch_size: 16, learning_rate: 1.0e-3}}
"""
"""Convolutions and an encoder; a step of it takes milliseconds."""
ATTENTION = """
name: attention
features: {frame_size: 128}
model:
  visual_embedder: {kind: patch, patch: 16}
  audio_embedder: {kind: patch, patch: 16}
  width: 256
  feed_forward: 512
  layers: 4
  heads: 4
  norm_first: true
  dropout: 0.1
  drop_path: 0.2
train: {steps: 1000, batch_size: 64, learning_rate: 1.0e-3}
"""
"""Several blocks of a fused kernel's keys, and nothing but attention."""


@dataclass(frozen=True)
class Watched:
    """What a short training showed.

    Attributes:
        peak_gib: most memory of tensors beyond what there was before; None on a CPU.
    """

    run: DryRun
    peak_gib: float | None


@cache
def group() -> ProcessGroup:
    """This process, alone."""
    return join_process_group()


def on_gpu() -> bool:
    return torch.cuda.is_available()


def settings_of(config: str, *words: str) -> ExperimentSettings:
    """Settings from YAML text, or from the experiment of that name in `configs/experiments/`."""
    if "\n" not in config:
        return load_settings(str(ROOT / f"configs/experiments/{config}.yaml"), ExperimentSettings, list(words)).settings
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(config)
        file.flush()
        return load_settings(file.name, ExperimentSettings, list(words)).settings


def train_shortly(settings: ExperimentSettings, steps: int) -> Watched:
    """Do some steps, and give the memory back."""
    gc.collect()
    if not on_gpu():
        return Watched(dry_run(settings, group(), steps), None)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run = dry_run(settings, group(), steps)
    return Watched(run, round((torch.cuda.max_memory_allocated() - before) / GIB, 3))


def step_ms(run: DryRun) -> float:
    """Milliseconds of a step, in the median of those behind the warm-up."""
    assert run.samples_per_s is not None
    return round(1000 * run.micro_batch * run.accumulated * run.processes / run.samples_per_s, 2)
