"""Readouts of what places of a clip have to do with its sound over all of its time."""

from typing import cast

import torch
from torch import Tensor

from moving_shards import MOVING
from objectives import CO_ATTENTION
from pipeline.evaluate.readouts.build import build_readout
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.experiment import ExperimentSettings
from pipeline.models.contract import Encoded, Inputs
from pipeline.tasks.synchronisation import MomentFeatures, Synchronisation
from pipeline.tasks.task import System
from pipeline.train.load import untrained
from tiny_run import tiny_experiment


def clips_in_sync(**task: object) -> tuple[System, Inputs]:
    """An untrained model of whether clips are in sync, and two clips."""
    words = {"kind": "synchronisation", "range_s": 0.1, "classes": 3, "segment_weight": 0, "clip_weight": 0, **task}
    settings = ExperimentSettings.model_validate({"features": MOVING, "model": CO_ATTENTION, "task": words})
    shown, generator = settings.features, torch.Generator().manual_seed(0)
    sound = torch.rand(2, shown.audio_channels, shown.audio_samples, generator=generator) - 0.5
    frames = torch.rand(2, shown.frames, 3, shown.frame_size, shown.frame_size, generator=generator)
    return untrained(settings, "cpu", 3), {"frames": frames, "sound": sound}


def test_places_in_sync_are_what_goes_with_the_sound_by_how_much_is_seen_of_it() -> None:
    readout = build_readout("in_sync_places", EvaluateSettings())
    mean, _ = clips_in_sync(head="lags")
    assert "task.places = best" in str(readout.reason_against(mean))
    clips, inputs = clips_in_sync(head="lags", places="best")
    assert readout.reason_against(clips) is None
    task, grid = cast(Synchronisation, clips.task), clips.model.grids["visual"]
    embedded = clips.model.embed(inputs)
    maps = readout(clips, inputs)
    answer, seen = task.offset_logits(clips.model, embedded), cast(MomentFeatures, task.features["visual"])
    with torch.no_grad():
        seen.out.weight *= 2
    torch.testing.assert_close(readout(clips, inputs), 2 * maps)
    torch.testing.assert_close(task.offset_logits(clips.model, embedded), answer)
    maps = readout(clips, inputs)

    tokens = grid.laid_out(embedded["visual"]).clone()
    tokens[:, :, 0, 1] = tokens[:, :, 2, 2]  # a place is told by what lies there, and by nothing else
    changed = task.in_sync_by_place(embedded | {"visual": tokens.flatten(1, 3)}).view_as(maps)
    torch.testing.assert_close(changed[:, 0, 1], maps[:, 2, 2])
    torch.testing.assert_close(changed[:, 3], maps[:, 3])


def test_class_activation_is_what_each_place_adds_to_an_answer_made_of_the_mean_of_tokens() -> None:
    clips, inputs = clips_in_sync(answer="in_sync")
    grid = clips.model.grids["visual"]
    readout = build_readout("class_activation", EvaluateSettings())
    assert readout.reason_against(clips) is None
    maps = readout(clips, inputs)
    assert maps.shape == (2, *grid.shape[1:])

    with torch.no_grad():
        tokens = dict(clips.model.fuse(clips.model.embed(inputs)).tokens)

        def score(visual: Tensor) -> Tensor:
            means = torch.cat([visual.mean(1, keepdim=True), tokens["audio"].mean(1, keepdim=True)], 2)
            return clips.task.score(Encoded(tokens | {"class": clips.model.fusion(means)}, None))

        for row, column in ((0, 0), (1, 2)):
            less = grid.laid_out(tokens["visual"]).clone()
            less[:, :, row, column] *= 0.99  # a little, as if layers behind the mean were one
            lost = score(tokens["visual"]) - score(less.flatten(1, 3))
            torch.testing.assert_close(maps[:, row, column] * grid.shape[0], 100 * lost, rtol=0.03, atol=1e-3)
    system = untrained(tiny_experiment(), "cpu", 3)
    assert readout.reason_against(system) == "its answer is not made of encoded visual tokens"
