"""A sample that others wrote: its files, and what is known of it."""

from typing import Any

from pydantic import TypeAdapter, ValidationError

from cluster.json_text import parse_json
from pipeline.samples.metadata import SampleMetadata
from pipeline.shards.foreign.naming import FileKind, kind_of, split_name
from pipeline.shards.members import Sample, contents
from pipeline.sound.sound import measure_sound

_LABELS = ("labels", "label", "class", "cls", "category", "categories")
_LABEL_FILES = ("cls", "txt")
_MOST_LABEL = 200
_SEGMENT_LABELS = TypeAdapter(list[list[str]] | None)
_MOST_JSON = 1 << 24


def read_foreign(content: bytes, key: str, tar: str = "") -> Sample:
    """A sample from the bytes of its tar members, as `pipeline.shards.foreign.index` has their place.

    Its first image by name is its frame; a video makes it a clip, whose sound is a file beside it or its own. JSON of
    this project's own kind is taken as it is. Else the video's id is the key, labels come from the usual names (those
    of segments from `segment_labels`), the frame is taken to lie in the middle of the sound, and the times of a clip's
    frames are left to be read from it. A sample of arrays needs neither picture nor sound.

    Args:
        tar: name or URL of the tar, for `metadata.source`.

    Raises:
        ValueError: damaged, or without picture or sound, and without arrays.
    """
    parts: dict[str, bytes] = {}
    for name, data in contents(content):
        split = split_name(name)
        if split is not None and split[0] == key:
            parts.setdefault(split[1], data)
    by_kind: dict[FileKind, list[str]] = {kind: [] for kind in FileKind}
    for extension in sorted(parts):
        by_kind[kind_of(extension)].append(extension)
    metadata = _own_metadata(parts)
    videos, images, sounds = by_kind[FileKind.VIDEO], by_kind[FileKind.IMAGE], by_kind[FileKind.SOUND]
    if metadata is not None and metadata.layout != "clip":
        videos = []
    if not videos and not (images and sounds) and not by_kind[FileKind.ARRAY]:
        found = ", ".join(sorted(parts)) or "nothing"
        raise ValueError(f"{key}: expected an image and sound, a video or arrays, found {found}")
    clip_kind = _ending(videos[0]) if videos else "mp4"
    audio_kind = _ending(sounds[0]) if sounds else clip_kind
    clip = parts[videos[0]] if videos else None
    audio = parts[sounds[0]] if sounds else b""
    if metadata is None:
        metadata = _describe(key, tar, parts, clip is not None, audio if sounds else clip, audio_kind)
    frames = [] if clip is not None else images if metadata.layout == "segments" else images[:1]
    shown = [parts[name] for name in frames]
    return Sample(key, metadata, shown, audio, clip, True, audio_kind, clip_kind, files=parts)


def _ending(extension: str) -> str:
    return extension.rpartition(".")[2]


def _own_metadata(parts: dict[str, bytes]) -> SampleMetadata | None:
    try:
        return SampleMetadata.model_validate_json(parts["json"]) if "json" in parts else None
    except ValidationError:
        return None


def _describe(
    key: str, tar: str, parts: dict[str, bytes], is_clip: bool, sound: bytes | None, kind: str
) -> SampleMetadata:
    known = _json_of(parts)
    try:
        rate_hz, samples = (0, 0) if sound is None else measure_sound(sound, kind)
    except ValueError as error:
        raise ValueError(f"{key}: its sound can't be read: {error}") from error
    return SampleMetadata(
        layout="clip" if is_clip else "frame",
        video=key,
        source=f"{tar}#{key}",
        frame_times_s=[] if is_clip or not samples else [samples / rate_hz / 2],
        audio_start_s=0.0,
        audio_rate_hz=rate_hz,
        audio_samples=samples,
        labels=_labels_of(known, parts),
        segment_labels=_segment_labels_of(known),
    )


def _json_of(parts: dict[str, bytes]) -> dict[str, Any]:
    try:
        known = parse_json(parts.get("json", b"{}"), _MOST_JSON)
    except ValueError:
        return {}
    return known if isinstance(known, dict) else {}


def _labels_of(known: dict[str, Any], parts: dict[str, bytes]) -> list[str]:
    found: list[str] = []
    for name in _LABELS:
        values = known.get(name, [])
        found += [str(value) for value in (values if isinstance(values, list) else [values]) if _is_label(value)]
    for extension in _LABEL_FILES:
        text = parts.get(extension, b"").decode(errors="replace").strip()
        found += [text] if text else []
    return list(dict.fromkeys(label[:_MOST_LABEL] for label in found))


def _segment_labels_of(known: dict[str, Any]) -> list[list[str]] | None:
    try:
        return _SEGMENT_LABELS.validate_python(known.get("segment_labels"))
    except ValidationError:
        return None


def _is_label(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and str(value) != ""
