"""What models of segments share: of each segment a grid of visual features and one vector of its sound."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pipeline.features.settings import FeatureSettings
from pipeline.models.contract import AUDIO, VISUAL, AudioVisualModel, Inputs, TokenGrid, Tokens
from pipeline.models.repeatable import mean_of_parts
from pipeline.models.segment_settings import STORED_AUDIO, STORED_VISUAL, SegmentModelSettings
from pipeline.models.towers import Towers

SEGMENTS = "segments"
"""The stream of what a model knows of each segment, by which events are told: [B, T, D]."""
VISUAL_SEGMENTS, AUDIO_SEGMENTS = "visual_segments", "audio_segments"
"""Streams of what is seen and what is heard in each segment, of models that keep them apart: [B, T, D]."""


class SegmentModel(AudioVisualModel):
    """A model whose `visual` tokens [B, T·R, Dv] are the R places of each of T frames, and whose `audio` tokens
    [B, T, Da] are the segments' sounds: features as they were stored, or those of two embedders.

    Embedders hear the sound as a whole; what they make of it is averaged over each segment's time, and its frequencies
    lie one behind the other.
    """

    def __init__(
        self, settings: SegmentModelSettings, features: FeatureSettings, shapes: Mapping[str, tuple[int, ...]]
    ) -> None:
        super().__init__()
        self.segments = settings.segments
        self.towers: Towers | None = None
        if settings.embedders is None:
            (_, rows, columns, visual), (_, audio) = shapes[STORED_VISUAL], shapes[STORED_AUDIO]
            self.seen = TokenGrid((("time", self.segments), ("row", rows), ("column", columns)))
        else:
            self.towers = Towers(settings.embedders, features)
            visual = settings.embedders.width
            audio = visual * self.towers.audio_grid[0]
            self.seen = self.towers.grids[VISUAL]
        self.embedded_widths = {VISUAL: visual, AUDIO: audio}

    seen: TokenGrid
    """How the visual tokens lie."""
    embedded_widths: Mapping[str, int]
    """Dv and Da."""

    @property
    def grids(self) -> Mapping[str, TokenGrid]:
        """How the tokens of each stream lie; a model adds its own."""
        return {VISUAL: self.seen, AUDIO: self.over_time}

    @property
    def over_time(self) -> TokenGrid:
        """One token a segment."""
        return TokenGrid((("time", self.segments),))

    @property
    def moments_s(self) -> Mapping[str, Sequence[float]]:
        """Of frames and sound, when each segment is; of stored features nobody knows."""
        if self.towers is None:
            return {}
        moments = self.towers.moments_s[VISUAL]
        return {VISUAL: moments, AUDIO: moments}

    def embed(self, inputs: Inputs) -> Tokens:
        """`visual` [B, T, rows, columns, Dv] and `audio` [B, T, Da], or `frames` and `sound` → tokens of each that is
        given."""
        if self.towers is None:
            given = {VISUAL: STORED_VISUAL, AUDIO: STORED_AUDIO}
            stored = {name: inputs[field] for name, field in given.items() if field in inputs}
            return {name: values.flatten(1, -2).to(self._precision) for name, values in stored.items()}
        tokens = self.towers.embed(inputs)
        if AUDIO in tokens:
            tokens[AUDIO] = self._by_segment(tokens[AUDIO])
        return tokens

    def hear(self, sound: Tensor) -> Tensor:
        """As the embedders do."""
        return super().hear(sound) if self.towers is None else self.towers.hear(sound)

    def place(self, embedded: Tokens) -> Tokens:
        """The tokens as they are: models of segments go by their order."""
        return embedded

    def parts(self) -> dict[str, nn.Module]:
        """The children, of the embedders each by itself."""
        found = dict(self.named_children())
        towers = found.pop("towers", None)
        return found if self.towers is None or towers is None else self.towers.parts() | found

    @property
    def _precision(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype

    def _by_segment(self, tokens: Tensor) -> Tensor:
        """[B, f·t, D] → [B, T, f·D]"""
        assert self.towers is not None
        batch, _, width = tokens.shape
        timed = tokens.view(batch, *self.towers.audio_grid, width).transpose(1, 2).flatten(2)
        return mean_of_parts(timed.transpose(1, 2), self.segments).transpose(1, 2)


def of_own_frames(weights: Tensor) -> Tensor:
    """Weights [B, T, R] of the places of each segment's frame as those [B, 1, T, T·R] of all places."""
    return torch.diag_embed(weights.transpose(1, 2)).permute(0, 2, 3, 1).flatten(2)[:, None]
