"""Settings of frames and sound as the model sees them."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.features.frame_times import FrameTimes
from pipeline.features.inputs import FRAMES, SOUND, Input, InputName
from pipeline.settings.base import Settings

Geometry = Literal["centre", "squash", "letterbox"]
"""How an upright frame becomes the square that a model sees. `centre`: the square of its shorter side, in the middle
along the longer one (training takes it from anywhere along that). `squash`: the whole frame, its sides scaled apart.
`letterbox`: the whole frame between black bars."""


class AugmentSettings(Settings):
    """The eight image augmentations and the volume change of the G-AVT thesis, section 4.3, and a flip. Zero turns one
    off."""

    rotation_degrees: float = Field(default=20.0, ge=0, lt=45)
    """Largest rotation in each direction; the rotated image is cropped to fit."""
    rotation_probability: float = Field(default=0.4, ge=0, le=1)
    """How often an image is rotated."""
    resize_minimum: float = Field(default=0.7, gt=0, le=1)
    """The image is resized by a factor between this and 1 before the fixed-size crop; 1 turns both off."""
    aspect: float = Field(default=0.25, ge=0, lt=1)
    """Largest stretch of the aspect ratio."""
    brightness: float = Field(default=0.3, ge=0, lt=1)
    """Largest change of the brightness, as a factor of 1 ± this."""
    contrast: float = Field(default=0.3, ge=0, lt=1)
    """Largest change of the contrast, as a factor of 1 ± this."""
    saturation: float = Field(default=0.2, ge=0, lt=1)
    """Largest change of the saturation, as a factor of 1 ± this."""
    hue: float = Field(default=0.1, ge=0, le=0.5)
    """Largest shift of the hue, in turns of the colour circle."""
    volume: float = Field(default=0.5, ge=0, lt=1)
    """Largest change of the volume, as a factor of 1 ± this."""
    flip: float = Field(default=0.0, ge=0, le=1)
    """How often left and right of the frame are changed; the thesis never does. Keypoints move with it, and left ones
    change places with right ones: what looks like a left hand is one. Channels of sound stay."""


class FeatureSettings(Settings):
    """Frames and spectrograms."""

    frame_size: int = Field(default=128, ge=16)
    """Height and width of the frame that the model sees, in pixels."""
    frames: int = Field(default=1, ge=1)
    """Frames a sample: 1, the segments that are taken, or the frames of a clip."""
    frame_rate_hz: float | None = Field(default=None, gt=0)
    """Frames a second that are taken from a clip, around its sound's middle; evenly over the sound unless given."""
    frame_spacing: Literal["even", "neighbours"] = "even"
    """`even`: frames as far apart as `frame_rate_hz` says. `neighbours`: consecutive frames of a clip or of segments,
    one of which is shown at the middle of what is heard: training takes any such run, evaluation the middle one.
    `frame_rate_hz`, the rate that the frames were prepared at, then only tells the model how far apart they are."""
    audio_rate_hz: int = Field(default=11025, gt=0)
    """Rate of the sound that the model hears, which samples are prepared at (`prepare.audio_rate_hz`); half of it is
    the highest frequency that it can tell."""
    audio_channels: Literal[1, 2] = 1
    """Other numbers of channels become this one: two are averaged, one is repeated."""
    audio_samples: int = Field(default=65535, gt=0)
    """Audio samples around a frame; 65 535 at 11 025 Hz are 5.94 s."""
    stft_frame: int = Field(default=1022, gt=1)
    """Length of the STFT's window in samples; gives stft_frame / 2 + 1 frequencies."""
    stft_hop: int = Field(default=256, gt=0)
    """Samples from one window of the STFT to the next; a larger one makes a narrower spectrogram and fewer audio
    tokens."""
    frequency_bins: int = Field(default=256, gt=1)
    """Height of the log-frequency spectrogram."""
    warp: Literal["point", "area"] = "point"
    """How the linear frequencies become log-frequency bins: `point` interpolates at each bin's centre (the papers);
    `area` averages over each bin and is better when there are far fewer bins than frequencies."""
    log_floor: float = Field(default=1e-3, gt=0, lt=1)
    """Added to the magnitude before its logarithm is taken."""
    augment: AugmentSettings = AugmentSettings()
    inputs: dict[InputName, Input] = Field(default_factory=dict)
    """What a model or an objective may take besides `frames` and `sound`, by its name: settings of one of the kinds
    `keypoints`, `segment_labels` and `stored`."""

    @model_validator(mode="after")
    def _window_fits(self) -> "FeatureSettings":
        if self.audio_samples <= self.stft_frame:
            raise ValueError(f"audio_samples longer than stft_frame ({self.stft_frame})")
        return self

    @model_validator(mode="after")
    def _neighbours_have_a_rate(self) -> "FeatureSettings":
        if self.frame_spacing == "neighbours" and self.frame_rate_hz is None:
            raise ValueError("a frame_rate_hz for frame_spacing = neighbours: that of the prepared frames, found null")
        return self

    @model_validator(mode="after")
    def _names_are_new(self) -> "FeatureSettings":
        for name in (FRAMES, SOUND):
            if name in self.inputs:
                raise ValueError(f"inputs of other names than {FRAMES} and {SOUND}, found {name}")
        return self

    @property
    def frame_times(self) -> FrameTimes:
        """When the frames are shown beside the sound."""
        sound_s = self.audio_samples / self.audio_rate_hz
        return FrameTimes(self.frames, self.frame_rate_hz, sound_s, self.frame_spacing == "neighbours")

    @property
    def time_frames(self) -> int:
        """Width of the spectrogram: windows centred on every `stft_hop`-th sample."""
        return self.audio_samples // self.stft_hop + 1
