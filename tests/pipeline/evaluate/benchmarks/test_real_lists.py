"""Trivial predictors on the benchmarks' real lists: figures that were found without this code, or hold by reason."""

import os
from functools import cache
from pathlib import Path

import pytest

from pipeline.evaluate.baselines.simple_maps import centre_disc
from pipeline.evaluate.benchmarks.benchmarks import open_benchmark
from pipeline.evaluate.benchmarks.figures import JudgedSamples, Values, values_of
from pipeline.evaluate.benchmarks.judged_map import judge_map
from pipeline.evaluate.benchmarks.sample import TRUTH_SIZE, mean_truth
from pipeline.evaluate.metrics.area import highest
from pipeline.evaluate.metrics.ciou import consensus_iou, success_rate

LISTS = {
    "vggss": "VGGSS/vggss.json",
    "is3": "SSLalignment/synthetic3240_bbox.json",
    "music-duet": "AVGN/music_duet.json",
    "music-solo": "AVGN/music_solo.json",
}


def place(name: str) -> str:
    path = Path(os.environ.get("GAVT_CORPUS", "")) / "manifests" / name
    if "GAVT_CORPUS" not in os.environ or not path.exists():
        pytest.skip(f"GAVT_CORPUS has no list {name}")
    return str(path)


@cache
def figures(name: str, every: int = 1) -> tuple[Values, Values]:
    """Of the centre disc and of the mean box, on each `every`th image."""
    wanted = open_benchmark(name, place(LISTS[name]))
    images = list(dict.fromkeys(sample.group or sample.id for sample in wanted.samples))[::every]
    samples = [sample for sample in wanted.samples if (sample.group or sample.id) in images]
    found = []
    for heat in (centre_disc(TRUTH_SIZE), mean_truth(wanted.samples)):
        judged = [
            judge_map(heat, one, [other for other in samples if other.group == one.group] if one.group else [one])
            if wanted.benchmark.figures == "sources"
            else judge_map(heat, one)
            for one in samples
        ]
        found.append(values_of(wanted.benchmark.figures, JudgedSamples(samples, judged)))
    return found[0], found[1]


def test_the_centre_disc_and_the_mean_box_reach_their_known_figures_on_vgg_ss() -> None:
    disc, box = figures("vggss")
    assert disc["ciou"] == pytest.approx(0.340, abs=1e-3)
    assert disc["auc"] == pytest.approx(0.374, abs=1e-3)
    assert box["ciou"] == pytest.approx(0.345, abs=1e-3)
    assert box["auc"] == pytest.approx(0.378, abs=1e-3)
    assert box["ciou_adap"] == pytest.approx(0.444, abs=1e-3)


def test_is3_is_read_whole_and_one_map_for_all_sounds_localises_few_images() -> None:
    samples = open_benchmark("is3", place(LISTS["is3"])).samples
    assert (len(samples), len({sample.group for sample in samples})) == (6480, 3240)
    disc, box = figures("is3", 4)
    half = highest(centre_disc(TRUTH_SIZE), TRUTH_SIZE**2 // 2 - 1)
    whole = success_rate([consensus_iou(half, sample.truth()) for sample in samples])
    assert disc["ciou"] == pytest.approx(whole, abs=0.03)
    for row in (disc, box):
        assert row["iiou"] is not None
        assert row["ciou"] is not None
        assert row["iiou"] < row["ciou"] / 3


def test_a_map_for_all_sources_of_a_duet_has_the_same_cap_and_piap() -> None:
    wanted = open_benchmark("music-duet", place(LISTS["music-duet"]))
    assert len(wanted.samples) == 2040
    disc, box = figures("music-duet", 10)
    assert disc["ap"] == pytest.approx(disc["piap"])
    assert disc["ap"] is not None
    assert box["ap"] is not None
    assert 0.1 < disc["ap"] < box["ap"] < 1


def test_avgns_lists_of_names_have_all_their_truths_in_vgg_ss() -> None:
    truths = place(LISTS["vggss"])
    for name, maps in (("single", 5158), ("duet", 2 * 5158)):
        wanted = open_benchmark(f"vggsound-{name}", place(f"AVGN/vggsound_{name}_test.csv"), truths=truths)
        assert (len(wanted.samples), wanted.without_truth) == (maps, [])


def test_extended_vgg_ss_has_as_many_pairs_that_do_not_sound() -> None:
    wanted = open_benchmark("extended-vggss", place(LISTS["vggss"]), place("SSLalignment/vggss_test_plus_silent.csv"))
    assert [sum(one.sounding is kind for one in wanted.samples) for kind in (True, False)] == [5158, 5158]
