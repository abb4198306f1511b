"""The benchmarks by name: how each list is read, and which figures are its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import BenchmarkError
from pipeline.evaluate.benchmarks.avatar import read_avatar
from pipeline.evaluate.benchmarks.flickr import read_flickr
from pipeline.evaluate.benchmarks.lists import (
    check_unique,
    read_as_corners,
    read_ids,
    read_is3,
    read_music,
    read_vggss,
    with_pairs,
)
from pipeline.evaluate.benchmarks.named_lists import read_named
from pipeline.evaluate.benchmarks.sample import BenchmarkSample
from pipeline.evaluate.metrics.ground_truth import PixelBox

Figures = Literal["areas", "detection", "sources", "scenarios"]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark.

    Attributes:
        read: its samples, from its list; None where that only names them, and truths lie elsewhere.
        figures: `areas`: how well a map covers a truth; `detection`: also whether the model knows that nothing sounds;
            `sources`: a map for each source of a mixture; `scenarios`: areas in each kind of scene, and whether the
            model is less sure where what sounds is off screen.
        pairs: whether a list of pairs of frames with other sounds belongs to it.
        wrong_boxes: its boxes by id as AVGN's evaluator reads them, where that is wrong.
    """

    title: str
    read: Callable[[str], list[BenchmarkSample]] | None
    figures: Figures
    pairs: bool = False
    wrong_boxes: Callable[[str], dict[str, PixelBox]] | None = None


BENCHMARKS = {
    "vggss": Benchmark("VGG-SS", read_vggss, "areas"),
    "flickr": Benchmark("Flickr-SoundNet", read_flickr, "areas"),
    "is3": Benchmark("IS3", read_is3, "areas"),
    "extended-vggss": Benchmark("Extended VGG-SS", read_vggss, "detection", pairs=True),
    "extended-flickr": Benchmark("Extended Flickr-SoundNet", read_flickr, "detection", pairs=True),
    "music-solo": Benchmark("MUSIC-Solo", read_music, "sources", wrong_boxes=read_as_corners),
    "music-duet": Benchmark("MUSIC-Duet", read_music, "sources", wrong_boxes=read_as_corners),
    "vggsound-single": Benchmark("VGGSound-Single", None, "sources"),
    "vggsound-duet": Benchmark("VGGSound-Duet", None, "sources"),
    "vggsound-instruments": Benchmark("VGGSound-Instruments", None, "sources"),
    "avatar": Benchmark("AVATAR", read_avatar, "scenarios"),
}


@dataclass(frozen=True)
class Wanted:
    """What a benchmark asks for.

    Attributes:
        name: of the benchmark, in `BENCHMARKS`.
        url: its list.
        samples: of which maps are asked.
        without_truth: ids that are asked for and that its list doesn't have.
    """

    name: str
    benchmark: Benchmark
    url: str
    samples: list[BenchmarkSample]
    without_truth: list[str]


def open_benchmark(
    name: str, url: str, pairs: str | None = None, only: str | None = None, truths: str | None = None
) -> Wanted:
    """A benchmark's samples.

    Args:
        url: its list, or the folder of its annotations.
        truths: of a list that only names samples, VGG-SS' JSON or masks, see `read_named`.
        pairs: of an extended set, the list of pairs.
        only: a list whose first cells are the ids that are asked for (heard and unheard classes of VGG-SS, the 250 test
            images of Flickr-SoundNet); of a group of sources the image's.

    Raises:
        BenchmarkError, ManifestError: it can't be read, or lists are missing.
    """
    benchmark = BENCHMARKS.get(name)
    if benchmark is None:
        raise BenchmarkError(f"benchmark: expected one of {', '.join(BENCHMARKS)}, found {name!r}")
    if benchmark.pairs and pairs is None:
        raise BenchmarkError(f"{name}: pairs: expected its list of video,audio,label, found none")
    if pairs is not None and not benchmark.pairs:
        raise BenchmarkError(f"{name}: pairs: expected none, for only extended sets have some, found {pairs}")
    if truths is not None and benchmark.read is not None:
        raise BenchmarkError(f"{name}: truths: expected none, for its list itself has them, found {truths}")
    missing: list[str] = []
    if benchmark.read is not None:
        samples = benchmark.read(url)
    elif truths is not None:
        samples, missing = read_named(url, truths)
    else:
        raise BenchmarkError(f"{name}: truths: expected vggss.json or masks (ID.png, .npz), found none")
    if only is not None:
        asked = dict.fromkeys(read_ids(only))
        known = {sample.group or sample.id.partition(":")[0] for sample in samples} | {sample.id for sample in samples}
        missing = [one for one in asked if one not in known]
        samples = [one for one in samples if {one.id, one.group, one.id.partition(":")[0]} & asked.keys()]
    if pairs is not None:
        samples = with_pairs(samples, pairs)
    check_unique(samples, url if only is None else only)
    return Wanted(name, benchmark, url, samples, missing)
