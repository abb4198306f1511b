"""Whether one sample is whole: its files, its JSON, its pictures, its clip, its sound."""

import itertools
import math
import warnings
import zlib
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from pydantic import ValidationError

from pipeline.samples.metadata import SampleMetadata
from pipeline.shards.array_file import SUFFIX, decode_array
from pipeline.shards.keypoints_file import KEYPOINTS_FILE, decode_keypoints
from pipeline.shards.shard_files import SampleEntry
from pipeline.shards.tar_run import read_members
from pipeline.sound.flac import decode_flac
from pipeline.video.clip import measure_clip
from pipeline.video.damage import errors_are_damage
from pipeline.video.open_picture import open_picture

_SMALLEST = 8  # pixels; no camera and no encoder makes less


def problems_of(content: bytes, entry: SampleEntry, settings: dict[str, Any] | None) -> Iterator[str]:
    """What is wrong with a sample, a sentence each.

    Args:
        content: the bytes from the tar where the shard's JSON says that the sample lies.
        entry: its line of the shard's JSON.
        settings: the recipe, where the plan is there: layout, height of pictures, rate and channels of audio.
    """
    try:
        with errors_are_damage():
            yield from _problems(content, entry, settings)
    except ValueError as error:
        yield f"it can't be checked: {error}"


def _problems(content: bytes, entry: SampleEntry, settings: dict[str, Any] | None) -> Iterator[str]:
    try:
        members = list(read_members(content))
    except ValueError as error:
        yield str(error)
        return
    strangers = [name for name, _ in members if name.partition(".")[0] != entry.key]
    if strangers:
        yield f"expected its own files at byte {entry.offset}, found {strangers[0]}"
        return
    files = {name.partition(".")[2]: data for name, data in members}
    if entry.crc32 != crc32_of(data for _, data in members):
        yield "its files are not what was written: their CRC-32 is another"
    try:
        metadata = SampleMetadata.model_validate_json(files["json"])
    except KeyError:
        yield "it has no .json"
        return
    except ValidationError as error:
        problem = error.errors()[0]
        yield f".json: {'.'.join(map(str, problem['loc'])) or 'content'}: {problem['msg']}"
        return
    recipe = settings or {}
    if metadata.layout != recipe.get("layout", metadata.layout):
        yield f".json: expected layout {recipe['layout']}, found {metadata.layout}"
    yield from _files(list(files), len(members), metadata)
    yield from _times(metadata)
    yield from _keypoints(files.get(KEYPOINTS_FILE), metadata)
    for name, data in files.items():
        if name.endswith("jpg"):
            yield from (f".{name}: {what}" for what in _picture(data, recipe))
        elif name.endswith(SUFFIX) and name != KEYPOINTS_FILE:
            yield from (f".{name}: {what}" for what in _array(data))
    if "mp4" in files:
        yield from (f".mp4: {what}" for what in _clip(files["mp4"], metadata, recipe))
    if "flac" in files:
        yield from (f".flac: {what}" for what in _audio(files["flac"], metadata, recipe))


def crc32_of(contents: Iterator[bytes]) -> int:
    """CRC-32 of a sample's files, one behind the other, as the shard's JSON has it."""
    checksum = 0
    for content in contents:
        checksum = zlib.crc32(content, checksum)
    return checksum


def _files(found: list[str], count: int, metadata: SampleMetadata) -> Iterator[str]:
    frames = len(metadata.frame_times_s)
    digits = max(2, len(str(frames - 1)))
    pictures = {
        "frame": ["jpg"],
        "clip": ["mp4"],
        "segments": [f"{place:0{digits}}.jpg" for place in range(frames)],
    }[metadata.layout]
    media = [*pictures, "flac"]
    arrays = [name for name in found if name.endswith(SUFFIX)]
    expected = ["json", *([] if arrays and not set(media) & set(found) else media), *arrays]
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    if missing:
        yield f"it has no .{', .'.join(missing[:3])}"
    if extra or count != len(found):
        yield f"expected {len(expected)} files, found {count}" + (f", such as .{extra[0]}" if extra else "")
    if metadata.layout == "frame" and frames != 1:
        yield f".json: expected the time of one frame, found {frames}"


def _times(metadata: SampleMetadata) -> Iterator[str]:
    times = metadata.frame_times_s
    if not all(map(math.isfinite, [*times, metadata.audio_start_s])):
        yield ".json: expected times in seconds, found one that is no number"
    elif any(later < earlier for earlier, later in itertools.pairwise(times)):
        yield ".json: frame_times_s: expected times in order, found them out of order"
    if not times:
        yield ".json: frame_times_s: expected the times of frames, found none"


def _keypoints(content: bytes | None, metadata: SampleMetadata) -> Iterator[str]:
    if content is None:
        if metadata.keypoints is not None:
            yield f"it has no .{KEYPOINTS_FILE}, but {metadata.keypoints} persons in its JSON"
        return
    try:
        found = decode_keypoints(content).shape[:2]
    except ValueError as error:
        yield str(error)
        return
    if found != (len(metadata.frame_times_s), metadata.keypoints):
        yield (
            f".{KEYPOINTS_FILE}: expected {len(metadata.frame_times_s)} frames of {metadata.keypoints} persons as the "
            f"JSON says, found {found[0]} of {found[1]}"
        )


def _picture(content: bytes, recipe: dict[str, Any]) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow warns of absurd sizes and of damaged Exif
            with open_picture(content) as image:
                image.load()
                width, height = image.size
    except ValueError as error:
        yield f"expected a whole JPEG, found one that can't be decoded ({error})"
        return
    yield from _size(width, height, recipe)


def _array(content: bytes) -> Iterator[str]:
    try:
        array = decode_array(content)
    except ValueError as error:
        yield str(error)
        return
    if not np.isfinite(array).all():
        yield "expected numbers, found some that are none"


def _clip(content: bytes, metadata: SampleMetadata, recipe: dict[str, Any]) -> Iterator[str]:
    try:
        frames, width, height = measure_clip(content)
    except ValueError as error:
        yield str(error)
        return
    if frames != len(metadata.frame_times_s):
        yield f"expected {len(metadata.frame_times_s)} frames as frame_times_s has times, found {frames}"
        return
    yield from _size(width, height, recipe)
    if not metadata.fps or metadata.fps <= 0:
        yield f"expected a frame rate in the JSON, found {metadata.fps}"
        return
    longer = Fraction(metadata.audio_samples, metadata.audio_rate_hz) - frames / Fraction(metadata.fps)
    if abs(longer) > 1 / Fraction(metadata.fps):
        yield f"expected sound as long as its {frames} frames at {metadata.fps:g}/s, found {float(longer):+.3f} s"


def _size(width: int, height: int, recipe: dict[str, Any]) -> Iterator[str]:
    highest = recipe.get("frame_height", height)
    if height > highest or min(width, height) < _SMALLEST:
        yield f"expected a picture of at most {highest} pixels' height, found {width}×{height}"


def _audio(content: bytes, metadata: SampleMetadata, recipe: dict[str, Any]) -> Iterator[str]:
    try:
        audio, rate_hz = decode_flac(content)
    except ValueError as error:
        yield str(error)
        return
    if (audio.shape[1], rate_hz) != (metadata.audio_samples, metadata.audio_rate_hz):
        yield (
            f"expected {metadata.audio_samples} samples at {metadata.audio_rate_hz} Hz as the JSON says, "
            f"found {audio.shape[1]} at {rate_hz} Hz"
        )
    expected_rate = recipe.get("audio_rate_hz", rate_hz)
    if rate_hz != expected_rate:
        yield f"expected {expected_rate} Hz as the recipe says, found {rate_hz} Hz"
    channels = recipe.get("channels", audio.shape[0])
    if audio.shape[0] != channels:
        yield f"expected {channels} channels, found {audio.shape[0]}"
