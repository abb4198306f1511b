"""What is taken out of each video; the defaults are section 4.3 of the G-AVT thesis (paper 000), but take short videos
too."""

from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from pipeline.settings.base import Settings


class LimitSettings(Settings):
    """What one video may cost. Limits say how the work is done, not what comes out: they may change when a shard set is
    gone on with, and `gavt prepare --retry timeout` gives videos that met a limit another chance with other ones."""

    deadline_s: float = Field(default=120.0, gt=0)
    """A video that takes longer (s) to decode is given up with the reason `timeout`."""
    deadline_s_per_gb: float = Field(default=300.0, ge=0)
    """Seconds added to the deadline for every GB of the file."""
    memory_mb: int = Field(default=2000, ge=300)
    """A video whose decoding takes more memory (MB) is given up with the reason `memory`."""
    videos_per_process: int = Field(default=500, gt=0)
    """A decoding process is renewed after this many videos, so that what libraries leak never adds up."""


class KeypointSettings(Settings):
    """Keypoints of persons, of the videos whose rows, or `--keypoints`, name a file of them.

    They are in pixels of the frames as a decoder hands them to AlphaPose or OpenPose: turned upright, and not stretched
    where pixels aren't square. Divided by the sides of that picture they are the same whatever the shape of a pixel.
    """

    persons: int = Field(default=2, ge=1, le=100)
    """Persons a frame, the most confident of each; one keeps its place from frame to frame."""
    rate_hz: float | None = Field(default=None, gt=0, le=1000)
    """Frames a second that were taken out of the video for them, from its first picture on; null where they are
    numbered as the video's own frames are, each with its true time."""
    first: Literal[0, 1] | None = None
    """Number of the first frame. Null takes 0 where the file has a frame 0 or writes numbers without leading zeros, as
    AlphaPose and OpenPose count a video's, and 1 elsewhere, as FFmpeg counts the pictures that it writes."""
    image_size: tuple[PositiveInt, PositiveInt] | None = None
    """Width and height of the pictures that they are pixels of, where these were scaled and the file doesn't say it;
    `[1, 1]` for coordinates in 0–1. Null is the video's own size."""
    required: bool = True
    """A video without its keypoints' file fails with the reason `missing`; false prepares it without keypoints."""


class PrepareSettings(Settings):
    """Recipe of `gavt prepare`.

    A clip from the middle of the video, a frame every `1 / frame_rate_hz` seconds of it, with a margin of half a period
    at both ends, and around each frame a window of audio. The times are half-open, `arange(margin, clip - margin,
    period)`, which gives the thesis' 17 frames of a 90 s video.
    """

    layout: Literal["frame", "clip", "segments"] = "frame"
    """What a sample is: `frame`, one frame and the audio around it; `clip`, a short MP4 of constant frame rate and its
    audio; `segments`, one frame from the middle of each of some segments and the audio of them all."""
    frame_choice: Literal["keyframe", "exact"] = "keyframe"
    """`keyframe` takes the nearest keyframe where one lies within `keyframe_within_s` of a wanted time, and the exact
    frame elsewhere; the sample records the frame's true time and has the audio around that. `exact` always takes the
    frame displayed at the wanted time, which decodes about twenty times as much. For the layout `frame`."""
    keyframe_within_s: float | None = Field(default=None, gt=0)
    """How far (s) a keyframe may lie from a wanted time; null is half the time between two wanted frames, and 2.5 s at
    most."""
    clip_s: float | None = Field(default=4.2, gt=0)
    """Length (s) of a clip; clips follow each other without a gap. A row with a range of its own gives its range. Null
    makes one clip of each video, up to `max_clip_s` of it. The default is that of Look, Listen and Attend (paper
    003)."""
    clip_fps: float = Field(default=29.97, gt=0, le=240)
    """Frame rate of a clip."""
    clip_crf: int = Field(default=20, ge=0, le=51)
    """Quality of a clip, x264's constant rate factor: 18 is hardly told from the source, 23 takes half its bytes."""
    segments: int = Field(default=10, gt=0)
    """Segments a sample (layout `segments`)."""
    segment_s: float = Field(default=1.0, gt=0)
    """Length (s) of a segment."""
    min_clip_s: float | None = Field(default=None, gt=0)
    """Videos, or parts of them that rows are about, that are shorter than this (s) give no samples. Null takes all that
    is long enough for one sample, and for the layout `frame` all. The thesis takes 15 s."""
    max_clip_s: float = Field(default=90.0, gt=0)
    """Length (s) of the part taken from the middle; a shorter video is taken whole."""
    frame_rate_hz: float = Field(default=0.2, gt=0, le=60)
    """Frames a second that are kept. A clip too short for one period gives its middle frame."""
    max_frames: int | None = Field(default=None, gt=0)
    """At most this many frames a video, evenly chosen; null keeps all."""
    frame_height: int = Field(default=480, ge=16, le=4320)
    """Height of the stored frames in pixels. Lower frames stay as they are; width keeps the aspect."""
    jpeg_quality: int = Field(default=90, ge=1, le=100)
    """Pillow's JPEG quality. Lower it where storage is dear: 75 takes about half the bytes of 90."""
    audio_rate_hz: int = Field(default=11025, ge=1000, le=192000)
    """Sample rate (Hz) that the audio is resampled to."""
    audio_samples: int = Field(default=65535, gt=0)
    """Length of an audio window in samples: 65 535 at 11 025 Hz is 5.94 s."""
    short_sound: Literal["repeat", "refuse"] = "repeat"
    """What becomes of a video whose sound is shorter than a window (layout `frame`). `repeat`: the sound is repeated
    before and behind itself, and what is heard with the frame stays with it. `refuse`: the video gives no samples, with
    the reason `too_short`, as in the thesis. The sound beside an image is always repeated, as public loaders do."""
    channels: Literal[1, 2] = 1
    """Audio channels. The thesis' 176 kbit/s are one channel of 16 bits at 11 025 Hz."""
    silence_dbfs: float | None = -60.0
    """A window whose RMS lies below this level (dB of full scale) is left out; null keeps silence."""
    no_audio: Literal["fail", "silence"] = "fail"
    """A video without an audio track fails, with the reason `no_audio`, or is one with silence, which its line of the
    ledger says. UCF101 and HMDB51 have many; who trains on frames alone loses nothing by it."""
    rows_per_shard: int = Field(default=64, gt=0)
    """Videos a shard. With the defaults 64 long videos make about 100 MB, a good size to read from object storage."""
    keypoints: KeypointSettings = KeypointSettings()
    limits: LimitSettings = LimitSettings()

    @model_validator(mode="after")
    def _clip_lengths_in_order(self) -> "PrepareSettings":
        if self.min_clip_s is not None and self.min_clip_s > self.max_clip_s:
            raise ValueError(f"min_clip_s ≤ max_clip_s, found {self.min_clip_s} > {self.max_clip_s}")
        if self.no_audio == "silence" and self.silence_dbfs is not None:
            raise ValueError(f"silence_dbfs = null for no_audio = silence, found {self.silence_dbfs:g}")
        return self

    @property
    def snap_s(self) -> float:
        """How far (s) a keyframe may lie from a wanted time; 0 where only the exact frame will do."""
        if self.frame_choice == "exact":
            return 0.0
        return self.keyframe_within_s or min(2.5, 0.5 / self.frame_rate_hz)

    @property
    def window_s(self) -> float:
        """Length of an audio window in seconds."""
        return self.audio_samples / self.audio_rate_hz
