"""Tiny models of any kind of embedder, and inputs for them."""

import torch

from pipeline.features.settings import FeatureSettings
from pipeline.models.attention import Layers
from pipeline.models.build import build_on
from pipeline.models.contract import Encoded, Inputs, Tokens
from pipeline.models.gavt import Gavt
from pipeline.models.settings import GavtSettings
from tiny_shards import FEATURES, MODEL

VIT = {"kind": "vit", "patch": 8, "width": 16, "feed_forward": 32, "layers": 3, "heads": 2}
EMBEDDERS = {
    "patch": {"kind": "patch", "patch": 16},
    "convolution": {"kind": "convolution", "widths": [8, 16, 16]},
    "resnet18": {"kind": "resnet18"},
    "resnet50": {"kind": "resnet50", "norm": "group"},
    "convnext": {"kind": "convnext"},
    "vit": VIT,
}


def tiny(seed: int = 0, frames: int = 1, frame_size: int = 32, **changes: object) -> Gavt:
    settings = GavtSettings.model_validate(MODEL | changes)
    features = FeatureSettings.model_validate(FEATURES | {"frames": frames, "frame_size": frame_size})
    model = build_on("cpu", seed, lambda: Gavt(settings, features))
    assert isinstance(model, Gavt)
    return model


def inputs(count: int = 2, frames: int = 1) -> Inputs:
    """Frames [B, T, 3, 32, 32] and sound [B, 1, S]."""
    generator = torch.Generator().manual_seed(0)
    shown = torch.rand(count, frames, 3, 32, 32, generator=generator)
    return {"frames": shown, "sound": torch.rand(count, 1, 4095, generator=generator) - 0.5}


def some(given: Inputs, samples: slice) -> Inputs:
    """The same of some samples."""
    return {name: values[samples] for name, values in given.items()}


def encode(model: Gavt, given: Inputs, attention: Layers = False) -> Encoded:
    """All streams once they have seen each other."""
    return model.fuse(model.embed(given), attention)


def sequence(model: Gavt, tokens: Tokens) -> torch.Tensor:
    """Tokens of all streams [B, N, D], as they lie in the model's sequence."""
    return torch.cat([tokens[name] for name in model.layout.slices], dim=1)
