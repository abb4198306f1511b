"""A model that gavt trained: its tokens, or their means."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pipeline.extract.networks.contract import Network
from pipeline.features.settings import Geometry
from pipeline.models.contract import CLASS, AudioVisualModel, Inputs
from pipeline.models.pooling import Stage, pooled
from pipeline.stream.fields.contract import FieldSpec
from pipeline.stream.fields.frames import FramesField
from pipeline.stream.fields.registry import fields_of
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
        tokens = embedded = self._model.embed(own)
        if self._stage == "fused":
            tokens = self._model.fuse(embedded).tokens
        elif self._stage == "encoded":
            tokens = {name: self._model.fuse({name: one}).tokens[name] for name, one in embedded.items()}
        return {f"{self._stage}.{name}": _on_grid(self._model, name, one) for name, one in tokens.items()}


def _squared(field: FieldSpec, geometry: Geometry | None) -> Any:
    """A field in the geometry that is asked for, where it shows frames."""
    return replace(field, geometry=geometry) if geometry is not None and isinstance(field, FramesField) else field


def _on_grid(model: AudioVisualModel, stream: str, tokens: Tensor) -> Tensor:
    if stream == CLASS or stream not in model.grids or model.grids[stream].count != tokens.shape[1]:
        return tokens
    return tokens.reshape(len(tokens), *model.grids[stream].shape, tokens.shape[-1])
