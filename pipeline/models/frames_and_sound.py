"""How models of frames and sound embed them: an embedder for each, between a fixed scale of inputs and the tokens."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from pipeline.features.frame_times import FrameTimes
from pipeline.features.inputs import SOUND
from pipeline.features.settings import FeatureSettings
from pipeline.features.spectrogram import LogFrequencySpectrogram
from pipeline.models.contract import AUDIO, HEARD, VISUAL, AudioVisualModel, Images, Inputs, TokenGrid, Tokens
from pipeline.models.embedders.build import build_embedder
from pipeline.models.receptive_field import receptive_field
from pipeline.models.settings import Embedder

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_DEVIATION = (0.229, 0.224, 0.225)
"""Of the colours of photographs, for which torchvision's weights were trained."""


class FramesAndSound(AudioVisualModel):
    """A model that embeds frames and the log-frequency spectrograms of sounds, each by an embedder of its own, into
    tokens of one width.

    Attributes:
        visual_grid: rows and columns of visual tokens of one frame.
        audio_grid: frequencies and times of audio tokens.
        embedded_grids: how the tokens of the two streams lie, and what they see of frames (pixels) and spectrograms
            (cells).
    """

    def __init__(self, settings: "_Embedders", features: FeatureSettings) -> None:
        super().__init__()
        self.spectrogram, self._features = LogFrequencySpectrogram(features), features
        frame, sound = (features.frame_size, features.frame_size), (features.frequency_bins, features.time_frames)
        visual, audio, width = settings.visual_embedder, settings.audio_embedder, settings.width
        self.visual_embedder, self.visual_grid = build_embedder(visual, 3, frame, width, False)
        self.audio_embedder, self.audio_grid = build_embedder(audio, 1, sound, width, True)
        self._image_shapes = {VISUAL: (features.frames, 3, *frame), AUDIO: (1, 1, *sound)}
        over_frames = _grid(self.visual_embedder, frame, {"row": self.visual_grid[0], "column": self.visual_grid[1]})
        over_sound = _grid(self.audio_embedder, sound, {"frequency": self.audio_grid[0], "time": self.audio_grid[1]})
        frames = TokenGrid((("time", features.frames), *over_frames.axes), over_frames.sees)
        self.embedded_grids = {VISUAL: frames, AUDIO: over_sound}
        self.register_buffer("image_mean", torch.empty(3, 1, 1), persistent=False)
        self.register_buffer("image_deviation", torch.empty(3, 1, 1), persistent=False)

    image_mean: Tensor
    image_deviation: Tensor

    def reset_parameters(self) -> None:
        """Fill the constant buffers (they are not part of a checkpoint)."""
        self.image_mean.copy_(torch.tensor(IMAGE_MEAN).view(3, 1, 1))
        self.image_deviation.copy_(torch.tensor(IMAGE_DEVIATION).view(3, 1, 1))

    @property
    def moments_s(self) -> Mapping[str, Sequence[float]]:
        """When each frame is shown, and the middle of what each time of audio tokens is made of."""
        features, times = self._features, self.audio_grid[1]
        sound_s, window_s = (
            samples / features.audio_rate_hz for samples in (features.audio_samples, features.stft_hop)
        )
        windows = features.time_frames / times
        return {
            VISUAL: FrameTimes(features.frames, features.frame_rate_hz, sound_s).offsets_s,
            AUDIO: [((time + 0.5) * windows - 0.5) * window_s - sound_s / 2 for time in range(times)],
        }

    def embed(self, inputs: Inputs) -> Tokens:
        """`frames` [B, T, 3, H, W] in 0–1 → `visual` [B, T·h·w, D]; `sound` [B, C, S] in −1..1 → `audio` [B, f·t, D];
        channels of sound are averaged."""
        return self.embed_images(self.images(inputs))

    def images(self, inputs: Inputs) -> Images:
        """Frames less the mean colour of photographs, over its deviation, and spectrograms [B, 1, 1, F, T]."""
        images: Images = {}
        if "frames" in inputs:
            images[VISUAL] = (inputs["frames"] - self.image_mean) / self.image_deviation
        if SOUND in inputs:
            images[AUDIO] = self.spectrogram(inputs[SOUND].mean(1, keepdim=True))[:, None]
        elif HEARD in inputs:
            images[AUDIO] = self.spectrogram.log(inputs[HEARD])[:, None, None]
        return images

    def hear(self, sound: Tensor) -> Tensor:
        """Before the logarithm; channels are averaged."""
        return self.spectrogram.magnitude(sound.mean(1, keepdim=True))[:, 0]

    def embed_images(self, images: Images) -> Tokens:
        """Each by its own embedder."""
        embedders = {VISUAL: self.visual_embedder, AUDIO: self.audio_embedder}
        return {name: self._embed(embedders[name], image) for name, image in images.items()}

    @property
    def image_shapes(self) -> Mapping[str, tuple[int, int, int, int]]:
        """Of frames and spectrograms."""
        return self._image_shapes

    def parts(self) -> dict[str, nn.Module]:
        """All children but the spectrogram, which has no parameters, and whose FLOPs are not the model's."""
        return {name: part for name, part in self.named_children() if name != "spectrogram"}

    @property
    def _precision(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype

    def _embed(self, embedder: nn.Module, image: Tensor) -> Tensor:
        flat = image.flatten(0, 1).to(self._precision)
        embedded: Tensor = embedder(flat.to(memory_format=torch.channels_last))
        return embedded.flatten(2).transpose(1, 2).reshape(len(image), -1, embedded.shape[1])


def _grid(embedder: nn.Module, size: tuple[int, int], axes: dict[str, int]) -> TokenGrid:
    """Tokens over the height and width of an input."""
    sees = {name: receptive_field(embedder, size[axis], axis) for axis, name in enumerate(axes)}
    return TokenGrid(tuple(axes.items()), sees)


class _Embedders(Protocol):
    """Settings of such a model."""

    @property
    def visual_embedder(self) -> Embedder: ...
    @property
    def audio_embedder(self) -> Embedder: ...
    @property
    def width(self) -> int: ...
