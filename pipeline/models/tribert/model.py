"""TriBERT: three embedders and the blocks in which their tokens look at each other (paper 001, Figure 1)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pipeline.features.inputs import SOUND
from pipeline.features.settings import FeatureSettings
from pipeline.features.spectrogram import LogFrequencySpectrogram
from pipeline.models.attention import Attention, Layers, Weights, is_wanted
from pipeline.models.blocks import Blocks
from pipeline.models.contract import (
    AUDIO,
    CLASS_MAPS,
    HEARD,
    VISUAL,
    AudioVisualModel,
    Encoded,
    Inputs,
    TokenGrid,
    Tokens,
    of_streams,
)
from pipeline.models.dropout import Dropout
from pipeline.models.frames_and_sound import IMAGE_DEVIATION, IMAGE_MEAN
from pipeline.models.receptive_field import receptive_field
from pipeline.models.recompute import run_block
from pipeline.models.tribert.audio import SpectrogramNetwork
from pipeline.models.tribert.co_attention import NORM_EPSILON, TribertBlock
from pipeline.models.tribert.pose import PoseNetwork
from pipeline.models.tribert.settings import KEYPOINTS, TribertSettings
from pipeline.models.tribert.visual import SegmentationNetwork

POSE = "pose"
"""The stream of persons."""
_OVER_FRAMES = "row", "column"


class Tribert(AudioVisualModel):
    """Its streams are `visual`, `pose` where the settings have it, and `audio`, each with its own width.

    A frame gives a token of each object that is found in it, and one of each person; before the frames' own lie those
    of one that stands for all of them (the paper's ⟨SOS⟩, as the public code makes it). The one audio token of a sound
    is repeated to as many as there are visual ones. Tokens have no positions: boxes say where persons are.
    """

    def __init__(
        self, settings: TribertSettings, features: FeatureSettings, shapes: Mapping[str, tuple[int, ...]]
    ) -> None:
        super().__init__()
        self.settings = settings
        self._features = features
        self.register_buffer("image_mean", torch.empty(3, 1, 1), persistent=False)
        self.register_buffer("image_deviation", torch.empty(3, 1, 1), persistent=False)
        self.spectrogram = LogFrequencySpectrogram(features)
        self.visual = SegmentationNetwork(settings)
        if settings.pose:
            self._persons = shapes[KEYPOINTS][1]
            self.pose = PoseNetwork(settings, features.frames)
        self.audio = SpectrogramNetwork(settings, (features.frequency_bins, features.time_frames))
        normed = {POSE, AUDIO} | ({VISUAL} if settings.expansive == "space" else set())
        self.norms = nn.ModuleDict(
            {name: nn.LayerNorm(width, NORM_EPSILON) for name, width in self.widths.items() if name in normed}
        )
        self.dropout = Dropout(settings.dropout)
        self.blocks = Blocks(TribertBlock(self.widths, settings) for _ in range(settings.blocks))

    image_mean: Tensor
    image_deviation: Tensor

    def reset_parameters(self) -> None:
        """Fill the constant buffers (they are not part of a checkpoint)."""
        self.image_mean.copy_(torch.tensor(IMAGE_MEAN).view(3, 1, 1))
        self.image_deviation.copy_(torch.tensor(IMAGE_DEVIATION).view(3, 1, 1))

    @property
    def grids(self) -> Mapping[str, TokenGrid]:
        """How the tokens of each stream lie. Copies of the audio token have no time."""
        times, objects, pose = ("time", self._features.frames), self.settings.objects, {}
        if self.settings.pose:
            pose = {POSE: TokenGrid((times, ("person", self._persons)), summaries=self._persons)}
        return {
            VISUAL: TokenGrid((times, ("object", objects)), summaries=objects),
            **pose,
            AUDIO: TokenGrid((("copy", (1 + self._features.frames) * objects),)),
        }

    @property
    def class_maps(self) -> TokenGrid:
        """Of the segmentation network, without that of the frame which stands for all."""
        side = self._features.frame_size
        over_frames = {name: receptive_field(self.visual.features, side, at) for at, name in enumerate(_OVER_FRAMES)}
        cells = side // self.settings.visual_stride
        return TokenGrid((("time", self._features.frames), *((name, cells) for name in _OVER_FRAMES)), over_frames)

    @property
    def moments_s(self) -> Mapping[str, Sequence[float]]:
        """When frames are shown, and the persons in them; one token is all that is heard."""
        shown = self._features.frame_times.offsets_s
        return {name: shown for name in self.widths if name != AUDIO}

    @property
    def widths(self) -> Mapping[str, int]:
        """D of each stream."""
        settings = self.settings
        pose = {POSE: settings.pose_width} if settings.pose else {}
        return {VISUAL: settings.visual_width, **pose, AUDIO: settings.audio_width}

    @property
    def attention_layers(self) -> int:
        """Blocks, in each of which a stream looks at the others and at itself."""
        return self.settings.blocks

    def embed(self, inputs: Inputs) -> Tokens:
        """`frames` [B, T, 3, H, W] in 0–1, `keypoints` [B, S, P, 68, 3] and `sound` [B, C, S] in −1..1, or `heard`
        → tokens of each that is given, and of frames the class maps; channels of sound are averaged."""
        tokens: Tokens = {}
        if "frames" in inputs:
            frames = (inputs["frames"] - self.image_mean) / self.image_deviation
            whole = frames.sum(1, keepdim=True) / (self._features.frames * self.settings.objects)
            images = torch.cat([whole, frames], 1)
            flat = images.flatten(0, 1).to(self._precision, memory_format=torch.channels_last)
            seen, maps = (one.unflatten(0, images.shape[:2]) for one in self.visual(flat))
            tokens[VISUAL] = seen.flatten(1, 2)
            tokens[CLASS_MAPS] = maps[:, 1:].flatten(3).transpose(2, 3).flatten(1, 2)
        if self.settings.pose and KEYPOINTS in inputs:
            tokens[POSE] = self.pose(inputs[KEYPOINTS])
        if SOUND in inputs or HEARD in inputs:
            magnitudes = inputs[HEARD] if HEARD in inputs else self.hear(inputs[SOUND])
            spectrograms = self.spectrogram.log(magnitudes)[:, None].to(self._precision)
            tokens[AUDIO] = self.audio(spectrograms)[:, None].repeat(1, self.grids[AUDIO].count, 1)
        return tokens

    def hear(self, sound: Tensor) -> Tensor:
        """Before the logarithm; channels are averaged."""
        return self.spectrogram.magnitude(sound.mean(1, keepdim=True))[:, 0]

    def place(self, embedded: Tokens) -> Tokens:
        """Norms and dropout of pose and audio tokens, and of visual ones that maps over space, each 1 in all, leave
        near 0; other visual ones as they are, and class maps are left behind."""
        return {
            name: self.dropout(self.norms[name](stream)) if name in self.norms else stream
            for name, stream in of_streams(embedded).items()
        }

    def encode(self, placed: Tokens, attention: Layers = False) -> Encoded:
        """Through the blocks. A stream that is given alone looks at itself only."""
        tokens, looked = placed, dict[tuple[str, str], dict[int, Weights]]()
        for number, block in enumerate(self.blocks):
            if is_wanted(number, attention):
                tokens, weights = block(tokens, True)
                for pair, one in weights.items():
                    looked.setdefault(pair, {})[number] = one
            else:
                tokens, _ = run_block(block, tokens)
        return Encoded(tokens, Attention(crossed=looked) if looked else None)

    def parts(self) -> dict[str, nn.Module]:
        """All children but the spectrogram, which has no parameters, and whose FLOPs are not the model's."""
        return {name: part for name, part in self.named_children() if name != "spectrogram"}

    @property
    def _precision(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype
