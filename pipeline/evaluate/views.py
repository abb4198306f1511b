"""What a model makes of a sample besides its map, as arrays that the report draws: the maps of its visual tokens, the
keypoints that it is given, and the mask by which it takes the sample's sound out of a mixture."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.evaluate.readouts.needs import told_classes
from pipeline.evaluate.readouts.token_maps import token_maps
from pipeline.evaluate.samples import EvaluationBatch
from pipeline.features.inputs import SOUND
from pipeline.features.masks import ideal_binary_mask
from pipeline.features.settings import FeatureSettings
from pipeline.samples.skeleton import POINTS
from pipeline.stream.fields.keypoints import KeypointsSettings
from pipeline.tasks.mix_and_separate import MixAndSeparate
from pipeline.tasks.task import System, objective

Views = dict[str, npt.NDArray[Any]]


@torch.no_grad()
def views_of(system: System, features: FeatureSettings, batch: EvaluationBatch) -> Views:
    """Of B samples, of what the model hasn't K, P or F are 0:

    token_maps   float32 [B, K, h, w]  of the classes whose features are the visual tokens of the middle frame …
    token_names  str [B, K]            … and what they are called
    keypoints    float32 [B, P, 68, 3] of the persons in the middle frame, x and y in 0–1 of the model's square
    masks        uint8 [B, 3, F, T]    log magnitudes of the sound mixed with that of the sample before; the model's
                                       mask of what is the sample's own; the ideal binary one. Low frequencies first
    """
    inputs = {name: batch.inputs[name] for name in system.inputs}
    maps, names = _tokens(system, inputs)
    return {
        "token_maps": maps,
        "token_names": names,
        "keypoints": _keypoints(inputs, features),
        "masks": _masks(system, inputs).cpu().numpy(),
    }


def _tokens(system: System, inputs: dict[str, Tensor]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    count = len(next(iter(inputs.values())))
    if system.model.class_maps is None:
        return np.zeros((count, 0, 1, 1), np.float32), np.zeros((count, 0), np.str_)
    numbers, maps = token_maps(system.model, system.model.embed(inputs))
    task = told_classes(system)
    called = task.classes_told if task is not None and task.maps_weight else ()
    names = [[called[one] if called else f"map {one + 1}" for one in of_sample] for of_sample in numbers.tolist()]
    return maps.cpu().numpy(), np.array(names)


def _keypoints(inputs: dict[str, Tensor], features: FeatureSettings) -> npt.NDArray[Any]:
    """Of the first input that is such."""
    for name, values in inputs.items():
        if isinstance(features.inputs.get(name), KeypointsSettings):
            return values[:, values.shape[1] // 2].cpu().numpy()
    return np.zeros((len(next(iter(inputs.values()))), 0, POINTS, 3), np.float32)


def _masks(system: System, inputs: dict[str, Tensor]) -> Tensor:
    separator = objective(system.task, MixAndSeparate)
    if separator is None:
        return torch.zeros(len(next(iter(inputs.values()))), 3, 0, 1, dtype=torch.uint8)
    own = inputs[SOUND]
    mixture = own + own.roll(1, 0)
    alone, mixed = (separator.plane.magnitude(sound.mean(1, keepdim=True))[:, 0] for sound in (own, mixture))
    levels = separator.plane.log(mixed)
    low, high = levels.amin((1, 2), keepdim=True), levels.amax((1, 2), keepdim=True)
    shown = (levels - low) / (high - low).clamp(min=1e-6)
    found = separator.frame_masks(system.model, inputs | {SOUND: mixture}).float()
    return (torch.stack([shown, found, ideal_binary_mask(alone, mixed).float()], 1) * 255).round().to(torch.uint8)
