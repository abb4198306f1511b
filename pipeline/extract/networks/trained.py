"""A model that gavt trained: its tokens, or their means."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.errors import SettingsError
from pipeline.extract.networks.contract import Moments, Network
from pipeline.features.inputs import FRAMES, SOUND
from pipeline.features.settings import Geometry
from pipeline.models.contract import AUDIO, CLASS, VISUAL, AudioVisualModel, Inputs
from pipeline.models.pooling import Stage, pooled
from pipeline.stream.fields.contract import FieldSpec
from pipeline.stream.fields.frames import FramesField
from pipeline.stream.fields.registry import fields_of
from pipeline.stream.fields.sound import SoundField
from pipeline.stream.sound_track import SoundFormat
from pipeline.train.load import load_trained


class TrainedFeatures(Network):
    """Streams of a checkpoint's or an export's model, read in the middle of each sample as evaluation reads them:
    `fused.visual` [B, …, D] with the axes of the stream's grid (time, row and column), or [B, D] for means.

    Raises:
        CheckpointError: no model there.
    """

    def __init__(self, url: str, device: torch.device, geometry: Geometry | None, stage: Stage, means: bool) -> None:
        trained = load_trained(url, device)
        features, system = trained.settings.features, trained.system
        self.module = self._model = system.model
        self._stage, self._means = stage, means
        # its inputs have names of their own beside those of other networks
        self._names = {f"{url}/{name}": name for name in system.inputs}
        self.fields = tuple(
            replace(_squared(field, geometry), name=f"{url}/{field.name}")
            for field in fields_of(features, system.inputs, augment=False)
        )

    def __call__(self, inputs: Inputs) -> Mapping[str, Tensor]:
        own = {name: inputs[called] for called, name in self._names.items()}
        if self._means:
            vectors = pooled(self._model, own)
            mine = {name: vector for name, vector in vectors.items() if name.startswith(f"{self._stage}/")}
            return {name.replace("/", "."): vector for name, vector in (mine or vectors).items()}
        tokens = tokens_of(self._model, own, self._stage)
        return {f"{self._stage}.{name}": _on_grid(self._model, name, one) for name, one in tokens.items()}


class TrainedByPart(Network):
    """Streams of a model that sees one frame, of each part of a sample by itself: the frame of its middle, and as much
    of the sample's sound around that as the model hears, silent beyond the sample's ends. `visual` [B, T, h, w, D], and
    `audio` [B, T, D], the mean over the tokens whose moments lie in the part, or nearest to its middle.

    Raises:
        CheckpointError: no model there.
        SettingsError: a model of other inputs.
    """

    def __init__(self, url: str, device: torch.device, moments: Moments, geometry: Geometry, stage: Stage) -> None:
        trained = load_trained(url, device)
        features, system = trained.settings.features, trained.system
        self.module = self._model = system.model
        self._stage, self._parts, self._heard = stage, moments.count, features.audio_samples
        if {*system.inputs} != {FRAMES, SOUND} or features.frames != 1:
            raise SettingsError(
                f"--by-part: expected a model of one frame and sound, found {url} of {', '.join(system.inputs)} with "
                f"features.frames = {features.frames}"
            )
        self._part = round(moments.each_s * features.audio_rate_hz)
        size, whole = features.frame_size, moments.count * self._part
        sound = SoundFormat(features.audio_rate_hz, whole, features.audio_channels)
        self._frames = FramesField(f"{url}/{FRAMES} by part", moments.times, size, size, geometry)
        self._sound = SoundField(f"{url}/{SOUND} by part", sound)
        self.fields = (self._frames, self._sound)
        apart = torch.tensor(self._model.moments_s[AUDIO], device=device).abs()
        self._within = apart <= max(moments.each_s / 2, float(apart.min()))

    def __call__(self, inputs: Inputs) -> Mapping[str, Tensor]:
        frames, sounds = inputs[self._frames.name], inputs[self._sound.name]
        missing = self._heard - self._part  # of the model's sound beyond a part
        around = F.pad(sounds, (missing // 2, missing - missing // 2))  # what is too much, where it is less than none
        parts = around.unfold(-1, self._heard, self._part).movedim(2, 1)
        own = {FRAMES: frames.flatten(0, 1)[:, None], SOUND: parts.flatten(0, 1)}
        tokens = tokens_of(self._model, own, self._stage)
        grid = self._model.grids[AUDIO]
        by_time = grid.laid_out(tokens[AUDIO]).movedim(1 + grid.names.index("time"), 1).flatten(2, -2).mean(2)
        found = {
            VISUAL: self._model.grids[VISUAL].laid_out(tokens[VISUAL])[:, 0],
            AUDIO: by_time[:, self._within].mean(1),
        }
        return {name: values.reshape(-1, self._parts, *values.shape[1:]) for name, values in found.items()}


def tokens_of(model: AudioVisualModel, inputs: Inputs, stage: Stage) -> Mapping[str, Tensor]:
    """Tokens [B, N, D] of each stream at a stage."""
    embedded = model.embed(inputs)
    if stage == "fused":
        return model.fuse(embedded).tokens
    if stage == "encoded":
        return {name: model.fuse({name: one}).tokens[name] for name, one in embedded.items()}
    return embedded


def _squared(field: FieldSpec, geometry: Geometry | None) -> Any:
    """A field in the geometry that is asked for, where it shows frames."""
    return replace(field, geometry=geometry) if geometry is not None and isinstance(field, FramesField) else field


def _on_grid(model: AudioVisualModel, stream: str, tokens: Tensor) -> Tensor:
    if stream == CLASS or stream not in model.grids or model.grids[stream].count != tokens.shape[1]:
        return tokens
    return tokens.reshape(len(tokens), *model.grids[stream].shape, tokens.shape[-1])
