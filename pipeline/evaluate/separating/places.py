"""Places in a frame whose sound is wanted: as they are asked for, where they lie at a time, which tokens they are."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from cluster import storage
from pipeline.errors import SettingsError
from pipeline.evaluate.token_weights import token_weights
from pipeline.models.contract import TokenGrid
from pipeline.samples.metadata import Box

REST = "rest"
"""What no place keeps; a place can't be called so."""
_NAME = re.compile(r"\w[\w .+-]{0,62}").fullmatch
_KEYS = ("name", "x", "y", "box", "time")
_SHARES = "shares of the upright frame's width and height, 0 to 1"


@dataclass(frozen=True)
class Place:
    """A place that stays or moves.

    Attributes:
        name: also of its file.
        path: (s from the video's zero, `[x1, y1, x2, y2]` in 0–1 of the upright frame), rising; a point is a box
            without size.
    """

    name: str
    path: tuple[tuple[float, Box], ...]

    def box_at(self, time_s: float) -> Box:
        """Where it lies: between two times of its path on the way from one box to the other, before and behind them
        where it is then."""
        times = [time for time, _ in self.path]
        after = next((number for number, time in enumerate(times) if time >= time_s), len(times) - 1)
        before = max(after - 1, 0) if times[after] > time_s else after
        (begin, first), (end, last) = self.path[before], self.path[after]
        share = (time_s - begin) / (end - begin) if end > begin else 0.0
        x1, y1, x2, y2 = (low + share * (high - low) for low, high in zip(first, last, strict=True))
        return (x1, y1, x2, y2)

    def weights_at(self, time_s: float, square: Box, grid: TokenGrid) -> Tensor:
        """[N] how much of it each visual token is, see `token_weights`.

        Args:
            square: where the tokens lie in the upright frame.
        """
        left, top, right, bottom = square
        wide, high = right - left, bottom - top
        x1, y1, x2, y2 = self.box_at(time_s)
        return token_weights(grid, ((x1 - left) / wide, (y1 - top) / high, (x2 - left) / wide, (y2 - top) / high))

    def check_seen(self, square: Box) -> None:
        """See that the model sees it.

        Raises:
            SettingsError: it lies beside what of the frame the model sees.
        """
        left, top, right, bottom = (max(square[0], 0.0), max(square[1], 0.0), min(square[2], 1.0), min(square[3], 1.0))
        for time, (x1, y1, x2, y2) in self.path:
            if x1 <= right and x2 >= left and y1 <= bottom and y2 >= top:
                continue
            at = f" at {time:g} s" if len(self.path) > 1 else ""
            found = f"{x1:g}, {y1:g}" + ("" if (x1, y1) == (x2, y2) else f", {x2:g}, {y2:g}")
            raise SettingsError(
                f"{self.name}: expected a place that the model sees, x in {left:.3f} to {right:.3f} and y in "
                f"{top:.3f} to {bottom:.3f} of the frame, found {found}{at}; with --set "
                "evaluate.geometry=squash it sees all of it"
            )


def places_asked(at: Sequence[str], boxes: Sequence[str], clicks: str | None, find: bool) -> list[Place] | None:
    """The places of a command, in its order; None for those that the model finds.

    Args:
        at: `x,y` or `NAME=x,y` of points.
        boxes: `x1,y1,x2,y2` or `NAME=x1,y1,x2,y2`.
        clicks: a file of clicks, see `read_clicks`.
        find: have the model find them.

    Raises:
        SettingsError: none or both of the two, one that can't be understood or lies outside of the frame, or two of
            one name.
        StorageError: the file can't be read.
    """
    if find == bool(at or boxes or clicks is not None):
        found = "all of it" if find else "neither"
        raise SettingsError(f"expected places by --at, --box or --clicks, or else --all, found {found}")
    if find:
        return None
    asked = [("--at", words, 2) for words in at] + [("--box", words, 4) for words in boxes]
    places = []
    for number, (option, words, count) in enumerate(asked, 1):
        name, named, numbers = words.rpartition("=")
        where = f"{option} {words}"
        area = _box_of(_numbers(where, numbers.split(","), count), where)
        places.append(Place(_checked_name(name, where) if named else f"place_{number}", ((0.0, area),)))
    return _with_own_names(places + ([] if clicks is None else read_clicks(clicks, len(places))))


def places_at(at: Mapping[str, Sequence[float]] | Sequence[Sequence[float]]) -> list[Place]:
    """Points (x, y) and boxes (x1, y1, x2, y2) in 0–1 of the upright frame, by name; without names they are `place_1`,
    `place_2` ….

    Raises:
        SettingsError: none, one that lies outside of the frame, or two of one name.
    """
    if not at:
        raise SettingsError("at: expected points (x, y) or boxes (x1, y1, x2, y2), found none")
    named = at.items() if isinstance(at, Mapping) else ((f"place_{number}", one) for number, one in enumerate(at, 1))
    places = []
    for name, values in named:
        where = f"at {name}"
        if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
            raise SettingsError(f"{where}: expected (x, y) or (x1, y1, x2, y2), {_SHARES}, found {values!r:.60}")
        box = _box_of(_numbers(where, values, 4 if len(values) > 2 else 2), where)
        places.append(Place(_checked_name(name, where), ((0.0, box),)))
    return _with_own_names(places)


def _with_own_names(places: list[Place]) -> list[Place]:
    names = [place.name.lower() for place in places]
    for place in places:
        if names.count(place.name.lower()) > 1:
            raise SettingsError(f"{place.name}: expected another name for each place, found it twice")
    return places


def read_clicks(url: str, before: int = 0) -> list[Place]:
    """Places of a file: JSON lines, or a list in JSON, of `{"name": "violin", "x": 0.3, "y": 0.6}` or
    `{"name": "violin", "box": [0.2, 0.5, 0.4, 0.8]}`, in 0–1 of the upright frame. Without a name it is `place_N`. A
    name that comes several times, each with another `time` (s from the video's zero), is a place that moves.

    Args:
        before: places that have their numbers already.

    Raises:
        SettingsError: it can't be understood.
        StorageError: it can't be read.
    """
    paths: dict[str, dict[float, Box]] = {}
    for number, (where, click) in enumerate(_rows(url), before + 1):
        if not isinstance(click, Mapping):
            raise SettingsError(f"{where}: expected a click such as {{'x': 0.3, 'y': 0.6}}, found {click!r:.60}")
        for key in click:
            if key not in _KEYS:
                raise SettingsError(f"{where}: expected {', '.join(_KEYS)}, found {key!r:.60}")
        if ("box" in click) == ("x" in click or "y" in click):
            raise SettingsError(f"{where}: expected x and y, or box, found {', '.join(click) or 'neither'}")
        values = click["box"] if "box" in click else [click.get("x"), click.get("y")]
        if not isinstance(values, list):
            raise SettingsError(f"{where}: expected box as [x1, y1, x2, y2], found {values!r:.60}")
        box = _box_of(_numbers(where, values, 4 if "box" in click else 2), where)
        name = _checked_name(click["name"], where) if "name" in click else f"place_{number}"
        time = click.get("time", 0.0)
        if isinstance(time, bool) or not isinstance(time, int | float) or not 0 <= time < math.inf:
            raise SettingsError(f"{where}: expected time in seconds from the video's beginning, found {time!r:.60}")
        path = paths.setdefault(name, {})
        if float(time) in path:
            raise SettingsError(f"{where}: expected another time for each click on {name}, found {time:g} s twice")
        path[float(time)] = box
    if not paths:
        raise SettingsError(f"{url}: expected clicks, found none")
    return [Place(name, tuple(sorted(path.items()))) for name, path in paths.items()]


def _rows(url: str) -> list[tuple[str, Any]]:
    """(where it stands, what) of each click in a file."""
    try:
        text = storage.read_bytes(url).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError(f"{url}: expected clicks in JSON or JSON lines, found no text") from None
    if text.lstrip().startswith("["):
        try:
            rows = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SettingsError(f"{url}: expected a list of clicks in JSON, found that it is none: {error}") from None
        return [(f"{url}, click {number}", row) for number, row in enumerate(rows, 1)]
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                found.append((f"{url}:{number}", json.loads(line)))
            except (ValueError, RecursionError):
                raise SettingsError(f"{url}:{number}: expected a click in JSON, found {line!r:.60}") from None
    return found


def _numbers(where: str, values: Sequence[Any], count: int) -> list[float]:
    """So many shares."""
    expected = "x,y" if count == 2 else "x1,y1,x2,y2"
    numbers = []
    for value in values:
        try:
            numbers.append(math.nan if isinstance(value, bool) else float(value))
        except (TypeError, ValueError, OverflowError):
            raise SettingsError(f"{where}: expected {expected}, {_SHARES}, found {value!r:.60}") from None
    if len(numbers) != count:
        raise SettingsError(f"{where}: expected {expected}, {_SHARES}, found {len(numbers)} numbers")
    for number in numbers:
        if not 0 <= number <= 1:
            pixels = "; divide pixels by the frame's width and height" if number > 1 else ""
            raise SettingsError(f"{where}: expected a place inside of the frame, {_SHARES}, found {number:g}{pixels}")
    return numbers


def _box_of(numbers: Sequence[float], where: str) -> Box:
    if len(numbers) == 2:
        return (numbers[0], numbers[1], numbers[0], numbers[1])
    x1, y1, x2, y2 = numbers
    if x1 >= x2 or y1 >= y2:
        raise SettingsError(f"{where}: expected a box x1,y1,x2,y2 with x1 < x2 and y1 < y2, found one without an area")
    return (x1, y1, x2, y2)


def _checked_name(name: Any, where: str) -> str:
    """A name that a file can have."""
    if not isinstance(name, str) or not _NAME(name) or name.lower() in (REST, "mixture"):
        raise SettingsError(
            f"{where}: expected a name of letters, digits, '_', '.', '+', '-' and spaces that is neither {REST} nor "
            f"mixture, found {name!r:.60}"
        )
    return name.rstrip(" .")
