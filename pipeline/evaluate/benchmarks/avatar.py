"""AVATAR ("What's Making That Sound Right Now?", Choi et al. 2025): a folder `metadata/VIDEO/FRAME.json`.

    {"original_width": 640, "original_height": 360, "annotations": [
        {"task": "Single-Sound", "audio_visual_category": "dog", "bbox": [x, y, width, height],
         "segmentation": [[x, y, x, y, …], …]}, …]}

Of each instance that sounds in a frame, `task` is its scenario: alone, with other sounds, beside others of its class,
or off screen, where it has no segmentation. The truth of a frame is the polygons of all its instances; a frame all of
whose instances are off screen shows nothing that sounds. Ids are `VIDEO/FRAME`.
"""

from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from cluster import storage
from cluster.json_text import parse_json
from cluster.masking import shown
from pipeline.errors import BenchmarkError
from pipeline.evaluate.benchmarks.sample import TRUTH_SIZE, BenchmarkSample, packed
from pipeline.evaluate.metrics.ground_truth import Mask

OFF_SCREEN = "Off-Screen"
SCENARIOS = ("Single-Sound", "Mixed-Sound", "Multi-Entity", OFF_SCREEN)


def read_avatar(folder: str) -> list[BenchmarkSample]:
    """A sample for each annotated frame.

    Raises:
        BenchmarkError: a file is no such annotation, or there is none.
    """
    files = [file.url for file in storage.list_files(folder) if file.url.endswith(".json")]
    if not files:
        raise BenchmarkError(f"{folder}: expected AVATAR's metadata (VIDEO/FRAME.json), found none")
    return [_sample(url, content) for url, content in zip(files, storage.read_many(files), strict=True)]


def _sample(url: str, content: bytes) -> BenchmarkSample:
    try:
        frame = parse_json(content.decode())
        size = _side(frame, "original_width"), _side(frame, "original_height")
        instances = frame.get("annotations")
        if type(instances) is not list or not instances or not all(type(one) is dict for one in instances):
            raise ValueError(f"annotations: expected a list of objects, found {shown(instances)}")
        kinds = {_scenario(one) for one in instances}
        polygons = [polygon for one in instances for polygon in _polygons(one.get("segmentation", []))]
    except (ValueError, AttributeError) as error:  # AttributeError: JSON that is no object
        raise BenchmarkError(f"{url}: expected an annotated frame of AVATAR, found something else ({error})") from None
    video, _, name = url.rpartition("/")
    return BenchmarkSample(
        f"{video.rpartition('/')[2]}/{name.removesuffix('.json')}",
        (),
        tuple(str(one.get("audio_visual_category", "")) for one in instances),
        sounding=kinds != {OFF_SCREEN},
        mask=packed(_drawn(polygons, size)),
        scenarios=tuple(sorted(kinds - {OFF_SCREEN})),
    )


def _side(frame: Any, name: str) -> int:
    value = frame.get(name)
    if type(value) is not int or not 0 < value <= 1 << 14:
        raise ValueError(f"{name}: expected pixels, found {shown(value)}")
    return value


def _scenario(instance: dict[str, Any]) -> str:
    scenario = instance.get("task")
    if scenario not in SCENARIOS:
        raise ValueError(f"task: expected one of {', '.join(SCENARIOS)}, found {shown(scenario)}")
    return str(scenario)


def _polygons(drawn: Any) -> list[list[tuple[int, int]]]:
    try:
        points = [np.asarray(polygon, dtype=np.float64).reshape(-1, 2) for polygon in drawn]
        if not all(np.isfinite(polygon).all() and (np.abs(polygon) < 1 << 20).all() for polygon in points):
            raise ValueError("infinite")
        return [[(int(x), int(y)) for x, y in polygon] for polygon in points]
    except (TypeError, ValueError):
        raise ValueError(f"segmentation: expected polygons [x, y, x, y, …], found {shown(drawn)}") from None


def _drawn(polygons: list[list[tuple[int, int]]], size: tuple[int, int]) -> Mask:
    """Filled in the frame's own pixels, then squashed onto the square of the truths."""
    picture = Image.new("L", size)
    for polygon in polygons:
        if len(polygon) > 2:
            ImageDraw.Draw(picture).polygon(polygon, fill=1, outline=1)
    square = picture.resize((TRUTH_SIZE, TRUTH_SIZE), Image.Resampling.NEAREST)
    return np.asarray(square) > 0
