"""The AV-transformer with instance attention (paper 004, Figure 2)."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from pipeline.features.settings import FeatureSettings
from pipeline.models.attention import Attention, Layers, Stored, is_wanted
from pipeline.models.av_transformer.encoding import (
    AudioGuidedAttention,
    InstanceAttention,
    PatchConvolution,
    PatchLstm,
    PatchPerceptron,
    PatchTransformer,
)
from pipeline.models.av_transformer.heads import Avel, Avsdn, Lstm, SegmentPerceptron
from pipeline.models.av_transformer.settings import AvTransformerSettings
from pipeline.models.contract import AUDIO, VISUAL, Encoded, TokenGrid, Tokens
from pipeline.models.segment_model import SEGMENTS, SegmentModel, of_own_frames

_HEADS: dict[str, Callable[[int, int, int], Avel | Avsdn | Lstm | SegmentPerceptron]] = {
    "avel": Avel,
    "avsdn": Avsdn,
    "lstm": Lstm,
    "mlp": SegmentPerceptron,
}


class AvTransformer(SegmentModel):
    """The places of each segment's frame are encoded, weighted by how they go with what is heard, and added up; a head
    goes through what is seen and heard so. Visual and audio tokens stay as they are."""

    def __init__(
        self, settings: AvTransformerSettings, features: FeatureSettings, shapes: Mapping[str, tuple[int, ...]]
    ) -> None:
        super().__init__(settings, features, shapes)
        self.settings = settings
        visual, audio = self.embedded_widths[VISUAL], self.embedded_widths[AUDIO]
        self.encoding = self._encoding()
        self.co_attention: nn.Module = InstanceAttention()
        if settings.co_attention == "audio_guided":
            self.co_attention = AudioGuidedAttention(audio, self.seen.count // self.segments)
        self.head = _HEADS[settings.head](visual if settings.attended == "raw" else audio, audio, settings.hidden)
        self.last = nn.Linear(self.head.width, settings.event_width)

    @property
    def grids(self) -> Mapping[str, TokenGrid]:
        """How the tokens of each stream lie."""
        return {**super().grids, SEGMENTS: self.over_time}

    @property
    def widths(self) -> Mapping[str, int]:
        """D of each stream."""
        return {**self.embedded_widths, SEGMENTS: self.settings.event_width}

    @property
    def attention_layers(self) -> int:
        """One, in which each segment's sound looks at the places of its own frame."""
        return 1

    def encode(self, placed: Tokens, attention: Layers = False) -> Encoded:
        """Segments are told where all tokens of both streams are given."""
        seen, heard = placed.get(VISUAL), placed.get(AUDIO)
        if seen is None or heard is None or (seen.shape[1], heard.shape[1]) != (self.seen.count, self.segments):
            return Encoded(placed, None)
        if self.settings.modalities == "visual":
            heard = torch.zeros_like(heard)
        elif self.settings.modalities == "audio":
            seen = torch.zeros_like(seen)
        told, looked = self.tell(seen.view(len(seen), self.segments, -1, seen.shape[2]), heard)
        tokens = {**placed, SEGMENTS: told}
        if not is_wanted(0, attention):
            return Encoded(tokens, None)
        return Encoded(tokens, Attention(crossed={(AUDIO, VISUAL): {0: Stored(of_own_frames(looked))}}))

    def tell(self, places: Tensor, sounds: Tensor) -> tuple[Tensor, Tensor]:
        """Equations 1–4, the head, and AVEL's layer between it and the classes.

        Args:
            places: v [B, T, R, Dv].
            sounds: a [B, T, Da].

        Returns:
            A vector of each segment [B, T, D], and M [B, T, R], how far its sound goes with each place.
        """
        encoded = self.encoding(places, sounds)
        looked = self.co_attention(encoded, sounds)
        attended = places if self.settings.attended == "raw" else encoded
        seen = torch.einsum("btr,btrd->btd", looked, attended)
        return self.last(self.head(seen, sounds).relu()).relu(), looked

    def _encoding(self) -> nn.Module:
        settings, visual, audio = self.settings, self.embedded_widths[VISUAL], self.embedded_widths[AUDIO]
        if settings.encoding == "mlp":
            return PatchPerceptron(visual, audio)
        if settings.encoding == "conv3d":
            return PatchConvolution(visual, audio, self.seen.shape[1:])
        if settings.encoding == "lstm":
            return PatchLstm(visual, audio)
        return PatchTransformer(visual, audio, settings.neighbours, settings.keys, settings.hears, settings.residual)
