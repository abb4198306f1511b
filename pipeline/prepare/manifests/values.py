"""Checks of single values of a row; all raise `WrongRow`."""

import math
import re
from typing import Any

from cluster.masking import shown
from pipeline.prepare.manifests.row_errors import WrongRow

_YOUTUBE = re.compile(r"[A-Za-z0-9_-]{11}").fullmatch
_CUT = re.compile(r"([A-Za-z0-9_-]{11})_([0-9]{6})").fullmatch


def is_youtube_id(text: str) -> bool:
    """Whether `text` is written like a YouTube id; eleven digits are rather one of Flickr's."""
    return _YOUTUBE(text) is not None and not text.isdigit()


def youtube_id(text: str) -> str:
    """A YouTube id."""
    if _YOUTUBE(text) is None:
        raise WrongRow(f"expected a YouTube id (11 letters, digits, _ or -), found {shown(text)}")
    return text


def cut_video(text: str) -> tuple[str, float] | None:
    """YouTube id and start (s) of a name such as `glLQrEijrKg_000300`; None if it is not written so."""
    match = _CUT(text)
    return None if match is None else (match[1], float(match[2]))


def cut_name(youtube: str, start_s: float) -> str:
    """Id of a part of a video, as VGGSound names its files: `glLQrEijrKg_000300`."""
    return f"{youtube}_{int(start_s):06d}"


def number(text: str, name: str) -> float:
    """A finite number that is written in a cell."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in text:
        raise WrongRow(f"{name}: expected a number, found {shown(text)}")
    return value


def text_range(start: str, end: str, names: tuple[str, str]) -> tuple[float, float]:
    """Start and end (s) that are written in cells."""
    start_s, end_s = number(start, names[0]), number(end, names[1])
    check_range(start_s, end_s, names)
    return start_s, end_s


def seconds(value: Any, name: str) -> float | None:
    """A time (s) as JSON or Parquet has it; None where it is not given."""
    if value is None:
        return None
    if not _is_finite(value):
        raise WrongRow(f"{name}: expected seconds, found {shown(value)}")
    return float(value)


def check_range(start_s: float | None, end_s: float | None, names: tuple[str, str] = ("start_s", "end_s")) -> None:
    """A range begins at 0 s or later and ends after its beginning."""
    if start_s is not None and start_s < 0:
        raise WrongRow(f"{names[0]}: expected 0 s or later, found {start_s:g}")
    if end_s is not None and end_s <= (start_s or 0):
        raise WrongRow(f"{names[1]}: expected a time after {names[0]} ({start_s or 0:g} s), found {end_s:g}")


def finite_box(value: Any, name: str) -> tuple[float, float, float, float]:
    """Four finite numbers."""
    if type(value) is not list or len(value) != 4:
        raise WrongRow(f"{name}: expected four numbers, found {shown(value)}")
    if not all(map(_is_finite, value)):
        raise WrongRow(f"{name}: expected four numbers, found {shown(value)}")
    first, second, third, fourth = map(float, value)
    return first, second, third, fourth


def _is_finite(value: Any) -> bool:
    try:
        return type(value) in (float, int) and math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        return False
