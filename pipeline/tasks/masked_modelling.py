"""Masked modelling: most of what is seen and heard is hidden, and rebuilt from the rest (MAE, He et al. 2022; of both
modalities together CAV-MAE, Gong et al. 2023; among the self-supervised tasks of the G-AVT thesis, section 3.2)."""

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import SettingsError
from pipeline.models.contract import AUDIO, VISUAL, AudioVisualModel, EmbedOnce, Images, Inputs, Tokens
from pipeline.models.encoder import Encoder
from pipeline.tasks.contract import Metadata, Purpose
from pipeline.tasks.hidden_cells import Hiding, cells_of, hidden_of, tokens_at, without_hidden
from pipeline.tasks.masked_modelling_settings import DecoderSettings, MaskedModellingSettings
from pipeline.tasks.pairing import contrasted
from pipeline.tasks.task import Targets, Task

_STREAMS = (VISUAL, AUDIO)
_LEAST_VARIANCE = 1e-6


class MaskedModelling(Task):
    """Only visible tokens go through the model's encoder, those of both streams together, so that what is heard helps
    to rebuild what is hidden of the frame, and the other way round. A light decoder sees them in their places among
    tokens that stand for the hidden ones, and rebuilds each cell of the frame and of the spectrogram. The loss is the
    mean squared error of the hidden cells.

    The embedders go over whole images in which hidden cells are zeros, since tokens of convolutions overlap: a token
    never sees of its neighbours what has to be rebuilt. (With patches that changes nothing.) So three quarters of the
    encoder's work is saved, and none of the embedders'. Batch norm in an embedder would normalise by the statistics of
    such images; choose patches or group norm.

    Its targets:

        visual, audio    [B, n] indices of the visible tokens
        among            [B, B] what each sample's other modality is contrasted with; with `contrast`
    """

    settings: MaskedModellingSettings

    def __init__(self, settings: MaskedModellingSettings, model: AudioVisualModel) -> None:
        super().__init__()
        self.settings = settings
        grids = model.grids
        self.hidings = {
            VISUAL: Hiding(grids[VISUAL], settings.visual_strategy, settings.visual_masked),
            AUDIO: Hiding(grids[AUDIO], settings.audio_strategy, settings.audio_masked),
        }
        for name, hiding in self.hidings.items():
            if hiding.visible >= hiding.grid.count:
                raise SettingsError(
                    f"task.{name}_strategy: expected one that hides some of the {name} tokens, found "
                    f"{hiding.strategy} over {' × '.join(f'{length} {axis}' for axis, length in hiding.grid.axes)}"
                )
        self.decoder = Decoder(settings.decoder, model)

    def targets(self, seed: int, positions: Sequence[int], metadata: Metadata, purpose: Purpose) -> Targets:
        found = {
            name: hiding.draw(seed, f"masked-{name}-{purpose}", positions) for name, hiding in self.hidings.items()
        }
        if self.settings.contrast:
            found["among"] = torch.tensor(contrasted(self.settings.group, positions, metadata))
        return found

    def forward(self, model: AudioVisualModel | EmbedOnce, inputs: Inputs, targets: Targets) -> tuple[Tensor, Tensor]:
        images, hidden = model.images(inputs), self._hidden(targets)
        placed = self._placed(model, images, hidden, targets)
        rebuilt = self.decoder(model.encode(placed).tokens, targets)
        weights = {VISUAL: self.settings.visual_weight, AUDIO: self.settings.audio_weight}
        count, errors, means = float(len(hidden[VISUAL])), [], []
        for name in _STREAMS:
            cells = self.wanted(images, name)
            errors.append(_mean_of_hidden((rebuilt[name].float() - cells).square().mean(2), hidden[name]))
            mean = self.mean_of_visible(cells, hidden[name])
            means.append(_mean_of_hidden((mean - cells).square().mean(2), hidden[name]))
        loss = torch.stack([weight * error for weight, error in zip(weights.values(), errors, strict=True)]).sum()
        sums = [*errors, *means]
        if self.settings.contrast:
            contrast, found = self._contrast(model, placed, targets["among"])
            loss = loss + self.settings.contrast * contrast
            sums += [contrast, found]
        every = torch.stack([loss, torch.ones_like(loss), *sums]).detach().double()
        return loss, every * count

    def wanted(self, images: Images, name: str) -> Tensor:
        """What a stream's cells [B, N, C·h·w] are rebuilt towards, in float32."""
        cells = cells_of(images[name].float(), self.hidings[name].grid)
        if not self.settings.normalised:
            return cells
        level, spread = cells.mean(2, keepdim=True), cells.var(2, keepdim=True, correction=0)
        return (cells - level) * (spread + _LEAST_VARIANCE).rsqrt()

    def mean_of_visible(self, cells: Tensor, hidden: Tensor) -> Tensor:
        """What whoever has no model would say of each cell, [B, 1, C·h·w]: the mean of a sample's visible ones, or of
        patterns 0, which is the mean of each."""
        if self.settings.normalised:
            return torch.zeros_like(cells[:, :1])
        shown = (1 - hidden)[:, :, None]
        return (cells * shown).sum(1, keepdim=True) / shown.sum(1, keepdim=True)

    def rebuild(self, model: AudioVisualModel, inputs: Inputs, targets: Targets) -> Tokens:
        """The cells [B, N, C·h·w] of each stream as the model rebuilds them from the visible ones (`wanted`)."""
        images, hidden = model.images(inputs), self._hidden(targets)
        placed = self._placed(model, images, hidden, targets)
        rebuilt: Tokens = self.decoder(model.encode(placed).tokens, targets)
        return rebuilt

    def _hidden(self, targets: Targets) -> Tokens:
        """Of each stream which tokens [B, N] are hidden (`hidden_of`)."""
        return {name: hidden_of(targets[name], hiding.grid.count) for name, hiding in self.hidings.items()}

    def _placed(self, model: AudioVisualModel | EmbedOnce, images: Images, hidden: Tokens, targets: Targets) -> Tokens:
        """The visible tokens as they enter the encoder, with the streams that come from no input."""
        shown = {name: without_hidden(images[name], hidden[name], self.hidings[name].grid) for name in _STREAMS}
        placed: Tokens = model.place(model.embed_images(shown))
        return placed | {name: tokens_at(placed[name], targets[name]) for name in _STREAMS}

    def _contrast(self, model: AudioVisualModel | EmbedOnce, placed: Tokens, among: Tensor) -> tuple[Tensor, Tensor]:
        """Symmetric InfoNCE within groups, and the share of samples that found their own.

        Each modality is encoded alone: tokens that have seen each other would know what belongs together.
        """
        means = []
        for name in _STREAMS:
            alone = {other: tokens for other, tokens in placed.items() if other not in _STREAMS or other == name}
            means.append(F.normalize(model.encode(alone).tokens[name].float().mean(1), dim=1))
        scores = (means[0] @ means[1].T / self.settings.temperature).masked_fill(~among, -torch.inf)
        both, own = torch.cat([scores, scores.T]), torch.arange(len(scores), device=scores.device).repeat(2)
        return F.cross_entropy(both, own), (both.argmax(1) == own).double().mean()


class Decoder(nn.Module):
    """Visible tokens of both streams, each in its place, and a learned token in all others → cells of the images."""

    def __init__(self, settings: DecoderSettings, model: AudioVisualModel) -> None:
        super().__init__()
        grids, widths = model.grids, model.widths
        sizes = {name: prod(model.image_shapes[name]) // grids[name].count for name in _STREAMS}
        self.counts = {name: grids[name].count for name in _STREAMS}
        self.enter = nn.ModuleDict({name: nn.Linear(widths[name], settings.width) for name in _STREAMS})
        self.hidden = nn.Parameter(torch.empty(1, len(_STREAMS), settings.width))
        self.positions = nn.Parameter(torch.empty(1, sum(self.counts.values()), settings.width))
        self.encoder = Encoder(settings)
        self.leave = nn.ModuleDict({name: nn.Linear(settings.width, sizes[name]) for name in _STREAMS})

    def reset_parameters(self) -> None:
        """Initialise what this module itself owns; its children do the same for theirs."""
        for tokens in (self.hidden, self.positions):
            nn.init.trunc_normal_(tokens, std=0.02)

    def forward(self, tokens: Tokens, visible: Tokens) -> Tokens:
        """Encoded tokens [B, n, D] and their places [B, n] of each stream → cells [B, N, C·h·w]."""
        streams = []
        for at, name in enumerate(_STREAMS):
            entered, places = self.enter[name](tokens[name]), visible[name]
            blank = self.hidden[:, at : at + 1].expand(len(places), self.counts[name], -1)
            streams.append(blank.scatter(1, places[:, :, None].expand_as(entered), entered))
        decoded, _ = self.encoder(torch.cat(streams, dim=1) + self.positions)
        parts = torch.split(decoded, list(self.counts.values()), dim=1)
        return {name: self.leave[name](part) for name, part in zip(_STREAMS, parts, strict=True)}


def _mean_of_hidden(values: Tensor, hidden: Tensor) -> Tensor:
    """The mean of [B, N] over the hidden tokens; each sample has as many."""
    return (values * hidden).sum() / hidden.sum()
