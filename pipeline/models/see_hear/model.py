"""See the Sound, Hear the Pixels (paper 002, Figure 2)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.features.settings import FeatureSettings
from pipeline.models.attention import Attention, Layers, Stored, is_wanted
from pipeline.models.contract import AUDIO, VISUAL, Encoded, TokenGrid, Tokens
from pipeline.models.see_hear.fusion import AudioVisualFusion
from pipeline.models.see_hear.segment_attention import SegmentAttention
from pipeline.models.see_hear.settings import SeeHearSettings
from pipeline.models.segment_model import SEGMENTS, SegmentModel, of_own_frames


class SeeHear(SegmentModel):
    """Frame and sound of each segment are fused, an LSTM goes over the segments of each modality, and segments are
    weighed.

    Its streams are, beside `visual` and `audio`, which come back as they are embedded, `segments`, by which events are
    told, and `visual_segments` and `audio_segments`, weighed (s of Eq. 11). Of a stream that is given alone there is
    only what needs no other. Audio tokens look at the places of their own segment's frame, by the weights of Eq. 5.
    """

    def __init__(
        self, settings: SeeHearSettings, features: FeatureSettings, shapes: Mapping[str, tuple[int, ...]]
    ) -> None:
        super().__init__(settings, features, shapes)
        self.settings = settings
        visual, audio = (self.embedded_widths[name] for name in (VISUAL, AUDIO))
        self.lstms = nn.ModuleDict()
        self.segment_attention = nn.ModuleDict()
        if VISUAL in settings.used:
            self.fusion = AudioVisualFusion(settings, visual, audio)
            self.lstms[VISUAL] = nn.LSTM(visual, settings.width, batch_first=True)
        if AUDIO in settings.used:
            self.lstms[AUDIO] = nn.LSTM(audio, settings.width, batch_first=True)
        if settings.segment_attention != "none":
            for name in settings.used:
                self.segment_attention[name] = SegmentAttention(settings.width, settings.segment_attention)

    @property
    def grids(self) -> Mapping[str, TokenGrid]:
        """How the tokens of each stream lie: all but the visual ones one a segment."""
        return {name: self.seen if name == VISUAL else self.over_time for name in self.settings.streams}

    @property
    def widths(self) -> Mapping[str, int]:
        """D of each stream."""
        width, used = self.settings.width, self.settings.used
        vectors = len(used)
        if self.settings.aggregation:
            vectors = len(used) * (1 + bool(self.segment_attention)) + self._has_similarity
        return {**self.embedded_widths, SEGMENTS: vectors * width, **{f"{name}_segments": width for name in used}}

    @property
    def attention_layers(self) -> int:
        """One, where places are weighed."""
        return int(VISUAL in self.settings.used and self.fusion.bilinear is not None)

    def encode(self, placed: Tokens, attention: Layers = False) -> Encoded:
        """The tokens as they are, and the segments of what is given."""
        tokens = {name: placed[name] for name in (VISUAL, AUDIO) if name in placed}
        ordered, weighed, looked = Tokens(), Tokens(), None
        if VISUAL in self.settings.used and VISUAL in tokens and (AUDIO in tokens or self.settings.fusion == "none"):
            places = tokens[VISUAL].view(len(tokens[VISUAL]), self.segments, -1, self.embedded_widths[VISUAL])
            ordered[VISUAL], looked = self.fusion(places, tokens.get(AUDIO))
        if AUDIO in self.settings.used and AUDIO in tokens:
            ordered[AUDIO] = tokens[AUDIO]
        for name, sequence in ordered.items():
            ordered[name] = self.lstms[name](sequence)[0]  # Eq. 8
            weighed[name] = self.segment_attention[name](ordered[name]) if self.segment_attention else ordered[name]
            tokens[f"{name}_segments"] = weighed[name]
        if len(ordered) == len(self.settings.used):
            tokens[SEGMENTS] = self._aggregated(ordered, weighed)
        if looked is None or not is_wanted(0, attention):
            return Encoded(tokens, None)
        return Encoded(tokens, Attention(crossed={(AUDIO, VISUAL): {0: Stored(of_own_frames(looked))}}))

    @property
    def _has_similarity(self) -> bool:
        return len(self.settings.used) == 2 and bool(self.segment_attention)

    def _aggregated(self, ordered: Tokens, weighed: Tokens) -> Tensor:
        """[B, T, D] of what is known of each segment (section 3.5)."""
        found = list(weighed.values())
        if self.settings.aggregation:
            found = [*ordered.values(), *(found if self.segment_attention else [])]
            if self._has_similarity:
                found.append((ordered[AUDIO] - ordered[VISUAL]) * (weighed[AUDIO] - weighed[VISUAL]))  # Eq. 12
        return torch.cat(found, -1)
