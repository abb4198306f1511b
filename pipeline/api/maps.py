"""Maps that any model made, judged by the figures of a benchmark, or against boxes of one's own."""

from collections.abc import Mapping, Sequence
from os import PathLike, fspath

import numpy.typing as npt

from cluster.masking import shown
from pipeline.errors import BenchmarkError
from pipeline.evaluate.benchmarks import score
from pipeline.evaluate.benchmarks.benchmarks import Benchmark, Wanted, open_benchmark
from pipeline.evaluate.benchmarks.sample import TRUTH_SIZE, BenchmarkSample
from pipeline.evaluate.metrics.ground_truth import in_pixels

Maps = Mapping[str, npt.ArrayLike]
"""[h, w] of any size over whole frames, higher where it is surer, by the ids of their samples."""
Path = str | PathLike[str]


def score_maps(
    maps: Maps,
    benchmark: str,
    listed: Path,
    *,
    truths: Path | None = None,
    pairs: Path | None = None,
    only: Path | None = None,
    confidences: Mapping[str, float] | None = None,
    controls: bool = False,
    align_corners: bool = False,
) -> score.BenchmarkScore:
    """Judge maps as `gavt score` does, beside what the benchmark's own evaluators would say of them.

    Args:
        benchmark: its name, as behind the command's `--benchmark`: `vggss`, `flickr`, `is3`, `music-duet` ….
        listed: its list, or the folder of its annotations; a path or URL.
        truths: of a list that only names samples, VGG-SS' JSON or masks.
        pairs: of an extended set, its list of `video,audio,label`.
        only: a list whose first cells are the ids to judge.
        confidences: of every map, how sure the model is that what is heard is seen; by default the mean of the highest
            quarter of the map's values.
        controls: also centre disc, mean box and ceiling.
        align_corners: resize maps so that corner cells lie on corner pixels.

    Raises:
        BenchmarkError: no such benchmark, lists that don't belong to it, not one of the maps is asked for, or one is
            no map.
    """
    wanted = open_benchmark(benchmark, fspath(listed), _path(pairs), _path(only), _path(truths))
    return score.score_maps(wanted, maps, confidences, controls, align_corners)  # type: ignore[arg-type]  # are checked


def score_boxes(
    maps: Maps,
    boxes: Mapping[str, Sequence[Sequence[float]]],
    *,
    images: Mapping[str, str] | None = None,
    controls: bool = False,
    align_corners: bool = False,
) -> score.BenchmarkScore:
    """Judge maps against boxes of what sounds: pointing, cIoU, AUC, cIoU_adap, and IIoU of images with several sounds.

    Args:
        boxes: x1, y1, x2, y2 in 0–1 of the upright frame, one or several of each sample; all of them together are what
            sounds.
        images: of each sample the image that it shares with samples of other sounds.
        controls, align_corners: as of `score_maps`.

    Raises:
        BenchmarkError: boxes that are none, not one of the maps has any, or one is no map.
    """
    samples = [
        BenchmarkSample(
            name, tuple(in_pixels(_box(name, box), TRUTH_SIZE) for box in own), group=(images or {}).get(name)
        )
        for name, own in boxes.items()
    ]
    if not samples:
        raise BenchmarkError("boxes: expected some of each sample, found none")
    wanted = Wanted("boxes", Benchmark("maps against boxes", None, "areas"), "boxes", samples, [])
    return score.score_maps(wanted, maps, None, controls, align_corners)  # type: ignore[arg-type]  # are checked


def _box(name: str, box: Sequence[float]) -> tuple[float, float, float, float]:
    try:
        values = [float(value) for value in box]
    except (TypeError, ValueError):
        raise BenchmarkError(
            f"boxes of {name}: expected a list of [x1, y1, x2, y2], found {shown(box)} in it"
        ) from None
    if len(values) != 4 or not (0 <= values[0] < values[2] <= 1 and 0 <= values[1] < values[3] <= 1):
        raise BenchmarkError(f"boxes of {name}: expected x1 < x2 and y1 < y2 in 0–1 of the frame, found {values}")
    x1, y1, x2, y2 = values
    return x1, y1, x2, y2


def _path(url: Path | None) -> str | None:
    return None if url is None else fspath(url)
