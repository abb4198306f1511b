"""Files of keypoints as their tools write them, recognised by what is in them.

AlphaPose   a list of {"image_id": "12.jpg", "keypoints": [x, y, c, …], "score": …, "idx": …}; COCO's results too
COCO        {"images": [{"id", "file_name", "width", "height"}], "annotations": [{"image_id", "keypoints", …}]}, and
            COCO-WholeBody's `foot_kpts`, `lefthand_kpts` and `righthand_kpts` beside 17 points
OpenPose    a folder with a file a frame, `NAME_000000000012_keypoints.json`: {"people": [{"pose_keypoints_2d": …,
            "hand_left_keypoints_2d": …, "hand_right_keypoints_2d": …}]}
"""

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cluster.json_text import parse_json
from cluster.masking import shown
from pipeline.prepare.poses.detections import Detection, Points, detection, number, triples

_DIGITS = re.compile(r"\d+")
_MOST_NUMBER = 10**9
_FACE = 68
_HAND = 21


@dataclass
class FoundPersons:
    """What a file says.

    Attributes:
        frames: number of each frame that it tells of → the persons in it.
        sizes: width and height of the pictures, of the frames where it says them.
        padded: numbers are written with leading zeros.
    """

    frames: dict[int, list[Detection]] = field(default_factory=lambda: defaultdict(list))
    sizes: dict[int, tuple[float, float]] = field(default_factory=dict)
    padded: bool = False

    @property
    def first(self) -> int:
        """Number of the video's first frame, as the file lets one guess it."""
        return int(self.padded and 0 not in self.frames)

    def number_of(self, name: Any, place: str) -> int:
        """The number of a frame from its name or from itself.

        Raises:
            ValueError: there is none in it.
        """
        text = str(name) if type(name) in (int, str) else ""
        digits = _DIGITS.findall(text.rpartition("/")[2].partition(".")[0])
        if not digits or text.startswith("-") or len(digits[-1]) > 18 or int(digits[-1]) > _MOST_NUMBER:
            raise ValueError(f"{place}: expected a frame's number, or a name that ends with it, found {shown(name)}")
        self.padded |= len(digits[-1]) > 1 and digits[-1][0] == "0"
        return int(digits[-1])


def read_json(content: bytes) -> FoundPersons:
    """The persons of a whole video from one file.

    Raises:
        ValueError: no JSON, another layout, or wrong values; names the place in the file.
    """
    known = _parsed(content)
    if isinstance(known, list):
        return _read_list(known)
    if isinstance(known, dict) and "annotations" in known:
        return _read_coco(known)
    keys = f"an object with {', '.join(map(shown, list(known)[:5]))}" if isinstance(known, dict) else shown(known)
    raise ValueError(
        "expected AlphaPose's list of detections, COCO's images and annotations, or a folder with OpenPose's "
        f"files, found {keys}"
    )


def read_openpose(files: Mapping[str, bytes]) -> FoundPersons:
    """The persons of a video from the content of each `…_keypoints.json`.

    Raises:
        ValueError: as of `read_json`; names the file.
    """
    found = FoundPersons()
    for name, content in files.items():
        at = found.number_of(name.removesuffix("_keypoints.json"), name)
        try:
            people = _parsed(content)
            people = people.get("people") if isinstance(people, dict) else None
            found.frames[at].extend(_openpose_persons(people))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return found


def _openpose_persons(people: Any) -> list[Detection]:
    persons = []
    for at, person in enumerate(_list(people, "people")):
        place = f"people.{at}"
        if not isinstance(person, dict):
            raise ValueError(f"{place}: expected an object, found {shown(person)}")
        parts = [_part(person, f"{name}_keypoints_2d", place) for name in ("pose", "hand_left", "hand_right")]
        if len(parts[0]) != 25:
            raise ValueError(f"{place}.pose_keypoints_2d: expected 25 points, as of BODY_25, found {len(parts[0])}")
        body = detection(parts[0], None, _identity(person.get("person_id", [-1])), place)
        hands = [part if len(part) else np.zeros((_HAND, 3)) for part in parts[1:]]
        for side, hand in zip(("left", "right"), hands, strict=True):
            if len(hand) != _HAND:
                raise ValueError(f"{place}.hand_{side}_keypoints_2d: expected 21 points, found {len(hand)}")
        if body is not None:
            whole = np.vstack([body.points[: -2 * _HAND], *hands])
            one = detection(whole, body.score, body.identity, place)
            assert one is not None
            persons.append(one)
    return persons


def _read_list(entries: Sequence[Any]) -> FoundPersons:
    found = FoundPersons()
    for at, entry in enumerate(entries):
        place = f"entry {at + 1}"
        if not isinstance(entry, dict) or "image_id" not in entry or "keypoints" not in entry:
            raise ValueError(f"{place}: expected an object with image_id and keypoints, found {shown(entry)}")
        frame = found.number_of(entry["image_id"], f"{place}: image_id")
        points = triples(entry["keypoints"], f"{place}: keypoints")
        one = detection(points, entry.get("score"), _identity(entry.get("idx")), f"{place}: keypoints")
        if one is not None:
            found.frames[frame].append(one)
    return found


def _read_coco(known: Mapping[str, Any]) -> FoundPersons:
    found = FoundPersons()
    numbers: dict[Any, int] = {}
    for at, image in enumerate(_list(known.get("images"), "images")):
        place = f"images.{at}"
        if not isinstance(image, dict) or type(image.get("id")) not in (int, str):
            raise ValueError(f"{place}: expected an object with an id, found {shown(image)}")
        frame = found.number_of(image.get("file_name", image["id"]), f"{place}.file_name")
        if frame in found.frames or image["id"] in numbers:
            raise ValueError(f"{place}: expected a frame of its own, as of one video, found {frame} once more")
        numbers[image["id"]] = frame
        found.frames[frame] = []
        if image.get("width") and image.get("height"):
            found.sizes[frame] = number(image["width"], f"{place}.width"), number(image["height"], f"{place}.height")
    persons = []
    for at, entry in enumerate(_list(known["annotations"], "annotations")):
        place = f"annotations.{at}"
        if not isinstance(entry, dict) or type(entry.get("image_id")) not in (int, str):
            raise ValueError(f"{place}: expected an object with an image_id, found {shown(entry)}")
        if entry["image_id"] not in numbers:
            strange = shown(entry["image_id"])
            raise ValueError(f"{place}.image_id: expected the id of one of the images, found {strange}")
        persons.append((numbers[entry["image_id"]], entry, _coco_points(entry, place), f"{place}.keypoints"))
    third = {float(value) for _, _, points, _ in persons for value in points[:, 2]}
    certain = 2.0 if 2.0 in third and third <= {0.0, 1.0, 2.0} else 1.0  # visibility instead of confidence
    for frame, entry, points, place in persons:
        one = detection(points, entry.get("score"), _identity(entry.get("track_id")), place, certain)
        if one is not None:
            found.frames[frame].append(one)
    return found


def _coco_points(entry: Mapping[str, Any], place: str) -> Points:
    """The points of an annotation, those of COCO-WholeBody put together."""
    body = triples(entry.get("keypoints"), f"{place}.keypoints")
    if len(body) != 17 or "lefthand_kpts" not in entry:
        return body
    parts = [body]
    for name, points in (("foot", 6), ("face", _FACE), ("lefthand", _HAND), ("righthand", _HAND)):
        part = _part(entry, f"{name}_kpts", place)
        parts.append(part if len(part) else np.zeros((points, 3)))
        if len(parts[-1]) != points:
            raise ValueError(f"{place}.{name}_kpts: expected {points} points, found {len(part)}")
    return np.vstack(parts)


def _part(entry: Mapping[str, Any], name: str, place: str) -> Points:
    return triples(entry.get(name, []), f"{place}.{name}")


def _identity(value: Any) -> str | None:
    """Who it is; AlphaPose writes numbers, and lists of one, and OpenPose −1 where it doesn't know."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return None if type(value) not in (int, float, str) or value == -1 else str(value)


def _list(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{place}: expected a list, found {shown(value)}")
    return value


def _parsed(content: bytes) -> Any:
    try:
        return parse_json(content)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: expected JSON, found something else ({error.msg})") from None
