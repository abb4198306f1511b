"""Maps that any model made, judged by the figures of a benchmark."""

from collections.abc import Mapping
from os import PathLike, fspath

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.benchmarks import score
from pipeline.evaluate.benchmarks.benchmarks import open_benchmark


def score_maps(
    maps: Mapping[str, npt.NDArray[np.floating]],
    benchmark: str,
    truth: str | PathLike[str],
    *,
    pairs: str | PathLike[str] | None = None,
    only: str | PathLike[str] | None = None,
    confidences: Mapping[str, float] | None = None,
    controls: bool = False,
    align_corners: bool = False,
) -> score.BenchmarkScore:
    """Judge maps as `gavt score` does, beside what the benchmark's own evaluators would say of them.

    Args:
        maps: [h, w] of any size over whole frames, by the ids of the benchmark.
        benchmark: `vggss`, `flickr`, `is3`, `extended-vggss`, `extended-flickr`, `music-solo` or `music-duet`.
        truth: its list, or the folder of its annotations, path or URL.
        pairs: of an extended set, its list of `video,audio,label`.
        only: a list whose first cells are the ids to judge.
        confidences: of every map, how sure the model is that what is heard is seen; by default the mean of the highest
            quarter of the map's values.
        controls: also centre disc, mean box and ceiling.
        align_corners: resize maps so that corner cells lie on corner pixels.

    Raises:
        BenchmarkError: no such benchmark, lists that don't belong to it, or not one of the maps is asked for.
    """
    wanted = open_benchmark(benchmark, fspath(truth), _path(pairs), _path(only))
    return score.score_maps(wanted, maps, confidences, controls, align_corners)


def _path(url: str | PathLike[str] | None) -> str | None:
    return None if url is None else fspath(url)
