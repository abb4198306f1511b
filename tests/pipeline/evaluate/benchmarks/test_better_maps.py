"""A better map never scores less, whatever the figure; and maps are resized as was asked for."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_lists import PART, vggss
from test_score import rows
from torch.nn import functional

from pipeline.evaluate.benchmarks.benchmarks import BENCHMARKS, Wanted, open_benchmark
from pipeline.evaluate.benchmarks.sample import BenchmarkSample
from pipeline.evaluate.benchmarks.score import score_maps

corner = st.sampled_from([0, 1, 80, 112, 200, 223, 224])
box = st.tuples(corner, corner, corner, corner)
NOT_MONOTONE = {"piap"}
"""A map that is higher on its own source lies less on the other one, with which the best order may have paired it."""


@pytest.mark.parametrize("name", ["vggss", "flickr", "is3", "extended-vggss", "vggsound-duet", "avatar"])
@settings(deadline=None, max_examples=25)
@given(st.data())
def test_a_map_that_is_raised_on_what_sounds_scores_no_less(name: str, data: st.DataObject) -> None:
    figures, votes = BENCHMARKS[name].figures, 2 if name == "flickr" else 1
    grouped = name in ("is3", "vggsound-duet")
    samples = [
        BenchmarkSample(
            str(number),
            tuple(data.draw(st.lists(box, min_size=1, max_size=3))),
            votes=votes,
            group="image" if grouped else None,
            sounding=number < 2,
            scenarios=("Single-Sound",) if figures == "scenarios" and number < 2 else (),
        )
        for number in range(2 if grouped else 3)
    ]
    random = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    levels = data.draw(st.sampled_from([0, 1, 4]))
    heats = [random.random((224, 224)) for _ in samples]
    heats = [np.floor(heat * levels) if levels else heat for heat in heats]
    raised = data.draw(st.floats(0, 3))
    better = [heat + raised * (one.truth() > 0) for heat, one in zip(heats, samples, strict=True)]
    wanted = Wanted(name, BENCHMARKS[name], "list", samples, [])
    sure = {one.id: float(random.random()) for one in samples}
    before, after = (rows(score_maps(wanted, dict(zip(sure, maps, strict=True)), sure)) for maps in (heats, better))
    for row in ("model", *(row for row in before if row.endswith("Sound"))):
        for figure, value in before[row].items():
            if value is not None and figure not in NOT_MONOTONE:
                now = after[row][figure]
                assert now is not None
                assert now >= value - 1e-9, f"{row} {figure}"


@pytest.mark.parametrize("align_corners", [False, True])
def test_maps_are_resized_as_torch_does_it_either_way(tmp_path: Path, align_corners: bool) -> None:
    wanted = open_benchmark("vggss", vggss(tmp_path))
    coarse = np.random.default_rng(3).random((7, 9)).astype(np.float32)
    batch = torch.from_numpy(coarse)[None, None]
    fine = functional.interpolate(batch, size=(224, 224), mode="bilinear", align_corners=align_corners)[0, 0].numpy()
    found, expected = (score_maps(wanted, {PART: heat}, align_corners=align_corners) for heat in (coarse, fine))
    assert found.sweeps == expected.sweeps
    assert rows(found)["model"] == rows(expected)["model"]
