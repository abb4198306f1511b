"""What an experiment trains, from its settings: a model with its objective, and a batch of noise for it."""

import numpy as np
import torch

from pipeline.errors import SettingsError
from pipeline.features.settings import FeatureSettings
from pipeline.models.contract import Inputs
from pipeline.models.registry import MODELS
from pipeline.samples.metadata import SampleMetadata
from pipeline.stream.fields.registry import fields_of
from pipeline.tasks.registry import TASKS
from pipeline.tasks.task import System, Targets
from pipeline.train.engine.optimizer import parameter_groups
from pipeline.train.engine.teachers import check_teachers
from pipeline.train.freeze import freeze
from pipeline.train.run_settings import RunSettings
from pipeline.train.state_patterns import STATES, check_all_fit


def build_system(settings: RunSettings) -> System:
    """The system, on torch's default device, with whatever was in its memory for weights; teachers and what
    `train.freeze` names have no gradient.

    Raises:
        SettingsError: a pattern of `train.freeze` fits nothing, or nothing is left to train.
    """
    model = MODELS.part_of(settings.model)(settings.model, settings.features, input_shapes(settings))
    system = System(model, TASKS.part_of(settings.task)(settings.task, model), settings.model.fields)
    for teacher, _ in system.teachers():
        teacher.requires_grad_(False)
    freeze(system, settings.train.freeze)
    return system


def system_without_memory(settings: RunSettings) -> System:
    """The system on the meta device, by which all is checked that settings of training ask of it.

    Raises:
        SettingsError: a pattern over names of parameters fits nothing, nothing is left to train, teachers can't follow
            (`check_teachers`), or maps are asked for of an objective that doesn't say whether frame and sound belong
            together.
    """
    with torch.device("meta"):
        system = build_system(settings)
    train = settings.train
    check_teachers(system, train)
    parameter_groups(system, train.weight_decay, train.learning_rates)
    if train.start_from is not None:
        check_all_fit("train.start_from.take", train.start_from.take, system.state_dict(), STATES)
    if train.maps_every is not None and not system.task.matches:
        kind = settings.task.kind
        raise SettingsError(
            f"train.maps_every: expected an objective that says whether frame and sound belong together, "
            f"found task.kind = {kind}"
        )
    return system


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
