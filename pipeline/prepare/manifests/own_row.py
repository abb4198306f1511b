"""A row of gavt's own lists (JSONL, CSV, Parquet): checked by hand, because a million of them are read in seconds."""

import difflib
from collections.abc import Mapping
from typing import Any

from cluster.masking import shown
from pipeline.prepare.manifests.list_file import ListFile, Naming
from pipeline.prepare.manifests.row import SEGMENT_NAMES, VideoRow
from pipeline.prepare.manifests.row_errors import WrongRow
from pipeline.prepare.manifests.sources import plain_name
from pipeline.prepare.manifests.values import check_range, finite_box, seconds
from pipeline.samples.metadata import Box

KEYS = (
    "source",
    "video",
    "labels",
    "split",
    "start_s",
    "end_s",
    "segment_labels",
    "boxes",
    "visible",
    "group",
    "frame_s",
    "segment_heard",
    "segment_visible",
    "segment_boxes",
    "sound",
    "keypoints",
    "extra",
)
"""What a row may hold. `extra` is for whatever else somebody wants to keep there; it is not read."""

COLUMNS = tuple(key for key in KEYS if key != "extra")
"""What a row holds that is read."""

_KNOWN = frozenset(KEYS)
_TEXT_KEYS = ("source", "video", "split", "group", "sound", "keypoints")
_NUMBERS = (float, int)
_MOST_SECONDS = 1e300  # integers beyond are no float
_TEXTS = frozenset((str, type(None)))


def own_row(values: Mapping[str, Any], file: ListFile) -> tuple[Naming, VideoRow]:
    """The row of these values, and where its id comes from; null is no value.

    Raises:
        WrongRow: an unknown key, a wrong type, no source.
    """
    if not _KNOWN.issuperset(values):
        raise WrongRow(_unknown(next(name for name in values if name not in _KNOWN)))
    get = values.get
    source, video, split, group, sound, keypoints = texts = tuple(map(get, _TEXT_KEYS))
    if "" in texts or not _TEXTS.issuperset(map(type, texts)):
        raise WrongRow(_no_text(values))
    labels = get("labels")
    start_s: Any = get("start_s")
    end_s: Any = get("end_s")
    names = () if labels is None else file.labels.checked(labels, "labels")
    if type(start_s) in _NUMBERS and type(end_s) in _NUMBERS and 0 <= start_s < end_s < _MOST_SECONDS:
        start_s, end_s = float(start_s), float(end_s)
    elif start_s is not None or end_s is not None:
        start_s, end_s = seconds(start_s, "start_s"), seconds(end_s, "end_s")
        check_range(start_s, end_s)
    frame_s = seconds(get("frame_s"), "frame_s")
    if frame_s is not None and not (start_s or 0.0) <= frame_s <= (_MOST_SECONDS if end_s is None else end_s):
        raise WrongRow(f"frame_s: expected a moment between start_s and end_s, found {frame_s:g}")
    if source is not None:
        source = source if source[0] == "/" else file.source(source)
        sound = None if sound is None else file.stored(sound, "sound")
    elif video is not None and file.has_template:
        filled = file.row_of_id(video, None, names, split, start_s, end_s, names_part=False, frame_s=frame_s)
        source, start_s, end_s, frame_s = filled.source, filled.start_s, filled.end_s, filled.frame_s
        sound = filled.sound if sound is None else file.stored(sound, "sound")
    else:
        raise WrongRow("source: expected a value, found none")
    boxes, visible, segment_boxes = get("boxes"), get("visible"), get("segment_boxes")
    events, heard, seen = (_segments(get(name), name, file) for name in SEGMENT_NAMES)
    row = VideoRow(
        plain_name(source) if video is None else video,
        source,
        names,
        split,
        start_s,
        end_s,
        events,
        None if boxes is None else _boxes(boxes, "boxes"),
        None if visible is None else file.labels.checked(visible, "visible"),
        group,
        frame_s,
        heard,
        seen,
        None if segment_boxes is None else _segment_boxes(segment_boxes),
        sound,
        None if keypoints is None else file.stored(keypoints, "keypoints"),
    )
    return Naming.FILE if video is None else Naming.OWN, row


def _boxes(values: Any, name: str) -> tuple[Box, ...]:
    if type(values) is not list:
        raise WrongRow(f"{name}: expected a list, found {shown(values)}")
    boxes = []
    for place, box in enumerate(values):
        x1, y1, x2, y2 = finite_box(box, f"{name}.{place}")
        if not (0 <= x1 <= x2 <= 1 and 0 <= y1 <= y2 <= 1):
            raise WrongRow(f"{name}.{place}: expected corners [x1, y1, x2, y2] in 0–1, found {shown(box)}")
        boxes.append((x1, y1, x2, y2))
    return tuple(boxes)


def _segments(values: Any, name: str, file: ListFile) -> tuple[tuple[str, ...], ...] | None:
    if values is None:
        return None
    if type(values) is not list:
        raise WrongRow(f"{name}: expected a list, found {shown(values)}")
    return tuple(file.labels.checked(value, f"{name}.{place}") for place, value in enumerate(values))


def _segment_boxes(values: Any) -> tuple[tuple[Box, ...], ...]:
    if type(values) is not list:
        raise WrongRow(f"segment_boxes: expected a list, found {shown(values)}")
    return tuple(_boxes(boxes, f"segment_boxes.{place}") for place, boxes in enumerate(values))


def _no_text(values: Mapping[str, Any]) -> str:
    name = next(name for name in _TEXT_KEYS if not _is_text(values.get(name)))
    return f"{name}: expected {'a value' if values[name] == '' else 'a string'}, found {shown(values[name])}"


def _is_text(value: Any) -> bool:
    return value is None or (type(value) is str and value != "")


def _unknown(name: Any) -> str:
    near = difflib.get_close_matches(str(name), KEYS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"expected only known keys ({', '.join(KEYS)}; put others under extra), found {shown(name)}{hint}"
