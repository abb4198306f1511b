"""What an experiment trains, from its settings: a model with its objective, and a batch of noise for it."""

import numpy as np
import torch

from pipeline.features.settings import FeatureSettings
from pipeline.models.contract import Inputs
from pipeline.models.registry import MODELS
from pipeline.samples.metadata import SampleMetadata
from pipeline.stream.fields.registry import fields_of
from pipeline.tasks.registry import TASKS
from pipeline.tasks.task import System, Targets
from pipeline.train.run_settings import RunSettings


def build_system(settings: RunSettings) -> System:
    """The system, on torch's default device, with whatever was in its memory for weights."""
    model = MODELS.part_of(settings.model)(settings.model, settings.features, input_shapes(settings))
    return System(model, TASKS.part_of(settings.task)(settings.task, model))


def input_shapes(settings: RunSettings) -> dict[str, tuple[int, ...]]:
    """Of each input of an experiment, the shape of one sample."""
    return {field.name: field.shape() for field in fields_of(settings.features, settings.fields, augment=False)}


def example_batch(
    system: System, settings: RunSettings, samples: int, device: torch.device | str
) -> tuple[Inputs, Targets]:
    """Noise in the shapes of a micro-batch, with its targets: what a step costs, not what it learns."""
    generator, inputs = np.random.default_rng(settings.seed), {}
    for field in fields_of(settings.features, settings.fields, augment=False):
        noise = np.stack([field.noise(generator) for _ in range(samples)])
        inputs[field.name] = field.on_device(torch.from_numpy(noise).to(device), None)
    metadata = [noise_metadata(settings.features, position) for position in range(samples)]
    targets = system.task.targets(settings.seed, range(samples), metadata, "example")
    return inputs, {name: target.to(device) for name, target in targets.items()}


def noise_metadata(features: FeatureSettings, position: int) -> SampleMetadata:
    """Of a sample that is noise: of a video of its own, with a label of its own."""
    name = f"noise{position}"
    return SampleMetadata(
        video=name,
        source=name,
        frame_times_s=[0.0] * features.frames,
        audio_start_s=0.0,
        audio_rate_hz=features.audio_rate_hz,
        audio_samples=features.audio_samples,
        labels=[name],
    )
