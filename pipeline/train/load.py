"""Trained models from checkpoints, without DeepSpeed and without unpickling."""

from dataclasses import dataclass
from functools import partial

import torch
from safetensors import SafetensorError

from cluster.process_group import ProcessGroup
from pipeline.errors import CheckpointError
from pipeline.models.build import build_on
from pipeline.tasks.task import System
from pipeline.train.checkpoints import find_checkpoint
from pipeline.train.checkpoints.model_weights import read_weights
from pipeline.train.checkpoints.saved_settings import saved_settings
from pipeline.train.run_settings import RunSettings
from pipeline.train.system import build_system


@dataclass(frozen=True)
class Trained:
    """A model with its trained weights, in float32 and evaluation mode."""

    system: System
    settings: RunSettings
    step: int
    url: str
    """Folder of the checkpoint."""

    @property
    def device(self) -> torch.device:
        """On which the model computes."""
        return next(self.system.parameters()).device


def load_trained(checkpoint_url: str, device: torch.device | str, group: ProcessGroup | None = None) -> Trained:
    """The model of a run folder, a folder of checkpoints, one checkpoint or an export (path or URL); its weights are
    their moving average, where the checkpoint has one.

    Args:
        group: processes that all want it, and read it together; every one of them must call it.

    Raises:
        CheckpointError: nothing there, damaged weights, or weights that don't fit the settings beside them.
    """
    group = group or ProcessGroup(0, 0, 1, torch.device("cpu"))
    checkpoint = group.on_main(partial(find_checkpoint, checkpoint_url))
    settings = saved_settings(checkpoint)
    system = build_on(device, settings.seed, lambda: build_system(settings))
    try:
        system.load_state_dict(read_weights(checkpoint, group=group))
    except (RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{checkpoint.url}: does not fit the model: {error}") from None
    return Trained(system.eval(), settings, checkpoint.step, checkpoint.url)


def untrained(settings: RunSettings, device: torch.device | str, seed: int) -> System:
    """A freshly initialised model, in evaluation mode: of one seed the same on all devices, whose generators draw
    different numbers."""
    return build_on("cpu", seed, lambda: build_system(settings)).eval().to(device)
