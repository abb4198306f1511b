"""All ways in which one model's attention can be read: the rows of Figure 6 of the G-AVT thesis, and more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.evaluate.readouts.attention import (
    attention_maps,
    chosen_layers,
    log_ratio,
    looked_between,
    with_prior,
)
from pipeline.evaluate.readouts.needs import attention_of
from pipeline.evaluate.settings import AttentionSettings, Direction, Normalisation, Perspective
from pipeline.features.inputs import SOUND
from pipeline.models.attention import Attention
from pipeline.models.contract import AUDIO, VISUAL, AudioVisualModel, Inputs
from pipeline.tasks.task import System

PRIORS: Mapping[Normalisation, str] = {"none": "", "silence": ", over silence", "noise": ", over noise"}
"""What attention is divided by (Eq. 7), and how it is called in the name of a row."""
_DIRECTIONS: tuple[tuple[Perspective, Direction, str], ...] = (
    ("visual", "audio_to_visual", "audio to visual"),
    ("visual", "visual_to_audio", "visual to audio"),
    ("visual", "both", "both directions"),
    ("class", "class_to_visual", "class to visual"),
    ("class", "visual_to_class", "visual to class"),
)
_MOST_LAYERS = 4
"""Of a deeper model as many from all over it, the last two among them."""


@dataclass(frozen=True)
class Look:
    """A way to read attention, whatever it is divided by.

    Attributes:
        name: direction, layer and heads.
    """

    name: str
    settings: AttentionSettings

    def row(self, prior: Normalisation) -> str:
        """Its name together with what it is divided by."""
        return self.name + PRIORS[prior]


def looks_at(system: System, epsilon: float) -> list[Look]:
    """The looks that a model has: each direction and the class token's, in single layers, their mean and rolled out,
    mean over heads; and each head by itself in the layer that is the default."""
    layers, attention = system.model.attention_layers, attention_of(system)
    if attention is None or not layers:
        return []
    numbers: list[int | str] = [*_some_of(layers), *(("mean", "rollout") if layers > 1 else ("rollout",))]
    found = [
        _look(words, {"perspective": perspective, "direction": direction, "layer": layer, "epsilon": epsilon})
        for perspective, direction, words in _DIRECTIONS
        for layer in numbers
    ]
    (layer,) = chosen_layers(AttentionSettings(), layers)
    heads = (attention.between(AUDIO, VISUAL) or {}).get(layer)
    for head in range(0 if heads is None else heads.shape[1]):
        found.append(_look(_DIRECTIONS[0][2], {"layer": layer + 1, "heads": head, "epsilon": epsilon}))
    return [look for look in found if _can_be_had(look.settings, attention)]


@torch.no_grad()
def read_looks(
    model: AudioVisualModel, inputs: Inputs, looks: Sequence[Look], priors: Sequence[Normalisation], seed: int
) -> dict[str, Tensor]:
    """The maps [B, h, w] of all rows. The model embeds what is seen once, and encodes once for each sound: their own
    and those of the priors."""
    seen = model.embed({name: values for name, values in inputs.items() if name != SOUND})
    layers = sorted({layer for look in looks for layer in chosen_layers(look.settings, model.attention_layers)})

    def read(sounds: Inputs) -> list[Tensor]:
        heard = model.embed({SOUND: sounds[SOUND]}) if SOUND in sounds else {}
        attention = model.fuse(seen | heard, attention=layers).attention
        if attention is None:
            raise TypeError("expected a model that returns its attention when asked for it, found none")
        return [attention_maps(attention, model.grids, look.settings, model.attention_layers) for look in looks]

    own, maps = read(inputs), dict[str, Tensor]()
    for prior in priors:
        others = own if prior == "none" else read(with_prior(inputs, prior, seed))
        for look, evidence, divisor in zip(looks, own, others, strict=True):
            ratio = evidence if prior == "none" else log_ratio(evidence, divisor, look.settings.epsilon)
            maps[look.row(prior)] = ratio
    return maps


def _look(words: str, settings: Mapping[str, object]) -> Look:
    layer, head = settings["layer"], settings.get("heads")
    where = {"mean": "mean of layers", "rollout": "rollout"}.get(str(layer), f"layer {layer}")
    heads = "" if head is None else f", head {head}"
    return Look(f"{words}, {where}{heads}", AttentionSettings.model_validate(settings))


def _some_of(layers: int) -> list[int]:
    """Numbers of layers, counted from 1."""
    if layers <= _MOST_LAYERS:
        return list(range(1, layers + 1))
    return sorted({1, layers // 2, layers - 1, layers})


def _can_be_had(settings: AttentionSettings, attention: Attention) -> bool:
    if settings.layer == "rollout" and not attention.joint:
        return False
    return all(attention.between(*streams) is not None for streams in looked_between(settings))
