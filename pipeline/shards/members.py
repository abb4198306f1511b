"""A sample as it lies in a shard: the bytes of its files."""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from pipeline.samples.metadata import SampleMetadata
from pipeline.shards.tar_members import DamagedTarError, walk


@dataclass(frozen=True)
class Sample:
    """One sample, not yet decoded.

    Attributes:
        images: JPEG (in shards that others wrote also PNG or WebP), in order: one of layout `frame`, n of layout
            `segments`, none of layout `clip`.
        audio: FLAC; in shards that others wrote any kind of sound, or nothing where the clip has it. Nothing too where
            a sample of features or labels has no sound.
        clip: the video of layout `clip`: MP4; in shards that others wrote any kind. None where a sample of features
            has no video.
        foreign: others wrote it: its sound may have another rate than asked for, and is then resampled.
        audio_kind, clip_kind: what the names of the two end with.
        text: its JSON as it lies there; empty where it is none of ours.
        files: all of its files, by what their names end with: for inputs that are stored as something else.
    """

    key: str
    metadata: SampleMetadata
    images: list[bytes]
    audio: bytes
    clip: bytes | None = None
    foreign: bool = False
    audio_kind: str = "flac"
    clip_kind: str = "mp4"
    text: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)


def read_sample(content: bytes, key: str, crc32: int | None = None) -> Sample:
    """A sample from the bytes of its tar members.

    Args:
        crc32: of the contents of its files, one behind the other, as the shard's JSON has it; not compared where None.

    Raises:
        ValueError: not a whole sample of that key, or other bytes than the ones that were written.
    """
    parts: dict[str, bytes] = {}
    found = 0
    for name, data in contents(content):
        base, _, extension = name.partition(".")
        if crc32 is not None:
            found = zlib.crc32(data, found)
        if base == key:
            parts[extension] = data
    if crc32 is not None and found != crc32:
        raise ValueError(f"{key}: expected files with the checksum {crc32:08x}, found {found:08x}: damaged")
    try:
        metadata = read_metadata(parts["json"], key)
        images = [parts[name] for name in sorted(parts) if name.endswith("jpg")]
        clip = parts.get("mp4") if metadata.layout == "clip" else None
        audio = parts.get("flac", b"")
        return Sample(key, metadata, images, audio, clip, text=parts["json"].decode(), files=parts)
    except KeyError as error:
        raise ValueError(f"no {key}.{error.args[0]} in it") from None


def contents(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files in a piece of a tar.

    Raises:
        ValueError: damaged.
    """
    try:
        for member in walk(lambda at, size: content[at : at + size], len(content)):
            yield member.name, content[member.data : member.data + member.size]
    except DamagedTarError as error:
        raise ValueError(f"damaged tar ({error})") from error


def read_metadata(content: bytes, key: str) -> SampleMetadata:
    """The JSON of a sample.

    Raises:
        ValueError: something else.
    """
    try:
        return SampleMetadata.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors()[0]
        raise ValueError(f"{key}.json: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None
