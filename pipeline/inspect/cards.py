"""A sample as a card of the contact sheet: its pictures with their keypoints, its sound and what is known of it."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cluster.masking import mask_url
from pipeline.inspect.choose import ChosenSample
from pipeline.inspect.preview import playable_clip, playable_sound, small_picture
from pipeline.inspect.skeletons import draw_persons
from pipeline.inspect.spectrogram import draw_spectrogram
from pipeline.samples.metadata import SampleMetadata
from pipeline.shards.array_file import SUFFIX, decode_array
from pipeline.shards.keypoints_file import KEYPOINTS_FILE, Keypoints, decode_keypoints
from pipeline.shards.members import Sample, read_sample
from pipeline.sound.flac import decode_flac
from pipeline.video.clip import Pixels, decode_clip
from pipeline.video.damage import errors_are_damage
from pipeline.video.open_picture import open_picture

_FRAME_ROWS, _STRIP_ROWS = 280, 110
_STRIP_FRAMES = 6
_MOST_SEGMENTS = 12
_MOST_CLIP_S = 10.0


@dataclass(frozen=True)
class CardPicture:
    """A picture of a card.

    Attributes:
        address: `data:` address.
        caption: time, and what sounds then where it is known.
    """

    address: str
    caption: str


@dataclass(frozen=True)
class SampleCard:
    """A sample of the sheet; media are `data:` addresses.

    Attributes:
        pictures: one frame, or a strip of them; none of a sample of features without media.
        clip: a small copy of the clip with its sound; None for other layouts.
        sound: None for a clip, whose player has it.
        times: of frames and sound, and what is stored besides.
        marks: where the frames lie in the sound, in per cent of its length.
        problem: what is wrong with the sample, which then has nothing else.
    """

    key: str
    tar: str
    layout: str = ""
    pictures: Sequence[CardPicture] = ()
    clip: str | None = None
    sound: str | None = None
    spectrogram: str | None = None
    marks: Sequence[float] = ()
    source: str = ""
    times: str = ""
    labels: Sequence[str] = ()
    split: str | None = None
    problem: str | None = None


def make_card(chosen: ChosenSample, content: bytes) -> SampleCard:
    """The card of a sample from the bytes of its tar members."""
    key = chosen.entry.key
    try:
        with errors_are_damage():
            sample = read_sample(content, key)
            stored = _stored(sample)
            if stored and not sample.images and sample.clip is None and not sample.audio:
                return _without_media(chosen, sample.metadata, stored)
            audio, rate_hz = decode_flac(sample.audio)
            frames = [_decode_jpeg(image) for image in sample.images]
            frames = frames if sample.clip is None else list(decode_clip(sample.clip))
            keypoints = _keypoints_of(sample, len(frames))
    except ValueError as error:
        return SampleCard(key, chosen.tar, problem=str(error))
    metadata = sample.metadata
    if len(frames) != len(metadata.frame_times_s) or not frames:
        return SampleCard(
            key, chosen.tar, problem=f"expected {len(metadata.frame_times_s)} frames, found {len(frames)}"
        )
    sound = clip = None
    if sample.clip is None:
        sound = _address(*playable_sound(sample.audio, audio, rate_hz))
    else:
        fps = metadata.fps or 25.0
        first = range(len(frames))[: max(1, round(_MOST_CLIP_S * fps))]
        shown = [_drawn(frames, keypoints, place) for place in first]
        heard = audio[:, : round(len(shown) / fps * rate_hz)]
        clip = _address("video/mp4", playable_clip(shown, fps, heard, rate_hz))
    seconds = audio.shape[1] / rate_hz
    return SampleCard(
        key=key,
        tar=chosen.tar,
        layout=metadata.layout,
        pictures=_strip(frames, keypoints, metadata),
        clip=clip,
        sound=sound,
        spectrogram=_address("image/jpeg", draw_spectrogram(audio, rate_hz)),
        marks=_marks(metadata, seconds),
        source=mask_url(metadata.source),
        times=" · ".join([_times(metadata, keypoints, seconds), *stored]),
        labels=metadata.labels,
        split=metadata.split,
    )


def _stored(sample: Sample) -> list[str]:
    """Its features: what each is called, its shape and type."""
    names = [name for name in sample.files if name.endswith(SUFFIX) and name != KEYPOINTS_FILE]
    arrays = {name: decode_array(sample.files[name]) for name in names}
    return [f"{name} {list(array.shape)} {array.dtype}" for name, array in arrays.items()]


def _without_media(chosen: ChosenSample, metadata: SampleMetadata, stored: Sequence[str]) -> SampleCard:
    segments = [", ".join(names) or "background" for names in metadata.segment_labels or ()]
    times = " · ".join([*stored, *([" | ".join(segments)] if segments else [])])
    source, labels = mask_url(metadata.source), metadata.labels
    return SampleCard(
        chosen.entry.key, chosen.tar, metadata.layout, source=source, times=times, labels=labels, split=metadata.split
    )


def _decode_jpeg(content: bytes) -> Pixels:
    try:
        with open_picture(content) as image:
            return np.asarray(image.convert("RGB"))
    except ValueError as error:
        raise ValueError(f"an image in it can't be decoded: {error}") from error


def _keypoints_of(sample: Sample, frames: int) -> Keypoints | None:
    """Of each of so many frames; None of a sample without."""
    content = sample.files.get(KEYPOINTS_FILE)
    if content is None:
        return None
    found = decode_keypoints(content)
    if len(found) != frames:
        raise ValueError(f".{KEYPOINTS_FILE}: expected those of {frames} frames, found those of {len(found)}")
    return found


def _strip(frames: Sequence[Pixels], keypoints: Keypoints | None, metadata: SampleMetadata) -> list[CardPicture]:
    """The frame of layout `frame`, or some frames evenly from first to last."""
    most = _MOST_SEGMENTS if metadata.layout == "segments" else _STRIP_FRAMES
    pictures = []
    for place in _evenly(len(frames), most):
        caption = f"{metadata.frame_times_s[place]:.2f} s"
        caption += _persons_in(keypoints, place)
        if metadata.layout == "segments":
            caption += _said_of_segment(metadata, place)
        rows = _FRAME_ROWS if len(frames) == 1 else _STRIP_ROWS
        pictures.append(
            CardPicture(_address("image/jpeg", small_picture(_drawn(frames, keypoints, place), rows)), caption)
        )
    return pictures


def _drawn(frames: Sequence[Pixels], keypoints: Keypoints | None, place: int) -> Pixels:
    """A frame with its keypoints over it."""
    return frames[place] if keypoints is None else draw_persons(frames[place], keypoints[place])


def _persons_in(keypoints: Keypoints | None, place: int) -> str:
    if keypoints is None:
        return ""
    seen = int((keypoints[place, ..., 2] > 0).any(1).sum())
    return f" · {seen} person{'s' * (seen != 1)}"


def _said_of_segment(metadata: SampleMetadata, place: int) -> str:
    said = ""
    if metadata.segment_labels is not None:
        said += f" · {', '.join(metadata.segment_labels[place]) or 'background'}"
    for what, segments in (("heard", metadata.segment_heard), ("seen", metadata.segment_visible)):
        if segments is not None:
            said += f" · {what}: {', '.join(segments[place]) or 'nothing'}"
    return said


def _evenly(count: int, most: int) -> list[int]:
    """At most `most` places of `count`, the first and the last among them."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most))})


def _marks(metadata: SampleMetadata, seconds: float) -> list[float]:
    """Where the frames lie in the sound; a clip's lie everywhere."""
    if metadata.layout == "clip":
        return []
    places = [100 * (time - metadata.audio_start_s) / seconds for time in metadata.frame_times_s]
    return [round(place, 2) for place in places if 0 <= place <= 100]


def _times(metadata: SampleMetadata, keypoints: Keypoints | None, seconds: float) -> str:
    start = metadata.audio_start_s
    heard = f"sound {start:.2f}–{start + seconds:.2f} s, {metadata.audio_rate_hz:,} Hz"
    if metadata.layout == "clip":
        return f"{len(metadata.frame_times_s)} frames at {metadata.fps:g}/s · {heard}"
    if metadata.layout == "segments":
        return f"{len(metadata.frame_times_s)} segments · {heard}"
    return f"frame at {metadata.frame_times_s[0]:.3f} s{_persons_in(keypoints, 0)} · {heard}"


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
