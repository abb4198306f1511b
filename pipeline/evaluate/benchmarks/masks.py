"""Truths as masks, by id: a folder of `ID.png`, or one `.npz` with an array `[h, w]` an id; what is not nought sounds.

Masks of any size lie over the whole frame, and are brought to the size of the truths by nearest neighbours, as AVGN's
evaluator does. Those that go round as pickles have to be saved anew in one of the two ways: what unpickles a file runs
what is in it.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from cluster import storage
from cluster.masking import shown
from pipeline.errors import BenchmarkError
from pipeline.evaluate.benchmarks.map_file import MapFile
from pipeline.evaluate.benchmarks.sample import TRUTH_SIZE, BenchmarkSample, packed
from pipeline.evaluate.metrics.ground_truth import Mask
from pipeline.video.open_picture import open_picture

_ENDING = ".png"


def read_masks(url: str, ids: Iterable[str]) -> dict[str, BenchmarkSample]:
    """The truths of those of the ids that have a mask.

    Raises:
        BenchmarkError: there is no mask of any of them, or one can't be read.
    """
    asked = dict.fromkeys(ids)
    found = _of_file(url, asked) if url.endswith(".npz") else _of_folder(url, asked)
    if not found:
        example = shown(f"{next(iter(asked), '')}{_ENDING}")
        raise BenchmarkError(f"{url}: expected a folder of masks such as {example}, or an .npz of them, found none")
    return {name: BenchmarkSample(name, (), mask=packed(_at_size_of_truths(mask))) for name, mask in found.items()}


def _of_file(url: str, asked: Iterable[str]) -> dict[str, npt.NDArray[np.generic]]:
    stored = MapFile(url)
    found: dict[str, npt.NDArray[np.generic]] = {}
    for name in (name for name in asked if name in stored):
        mask = stored[name]
        if not np.isfinite(mask).all():
            raise BenchmarkError(f"{url}: {name}: expected a mask, found NaN or infinite values in it")
        found[name] = mask
    return found


def _of_folder(url: str, asked: dict[str, None]) -> dict[str, npt.NDArray[np.generic]]:
    files = {}
    for file in storage.list_files(url):
        name = file.url.rpartition("/")[2]
        if name.lower().endswith(_ENDING) and name[: -len(_ENDING)] in asked:
            files[name[: -len(_ENDING)]] = file.url
    found: dict[str, npt.NDArray[np.generic]] = {}
    for (name, place), content in zip(files.items(), storage.read_many(list(files.values())), strict=True):
        try:
            with open_picture(content, ("PNG",)) as picture:
                found[name] = np.asarray(picture.convert("L"))
        except ValueError as error:
            raise BenchmarkError(f"{place}: expected a mask as PNG, found something else ({error})") from None
    return found


def _at_size_of_truths(mask: npt.NDArray[np.generic]) -> Mask:
    rows, columns = (np.arange(TRUTH_SIZE) * side // TRUTH_SIZE for side in mask.shape)
    nearest: Mask = mask[rows[:, None], columns] != 0
    return nearest
