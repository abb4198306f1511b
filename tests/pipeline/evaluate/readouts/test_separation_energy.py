"""The energy of the sound that each place keeps, as a map."""

import pytest
import torch

from pipeline.evaluate.readouts.build import build_readout
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.features.masks import Stft, linear_frequency_weights
from pipeline.train.load import untrained
from pipeline.train.run_settings import RunSettings
from pipeline.train.system import example_batch
from tiny_shards import FEATURES, MODEL

SMALL = {"kind": "mix_and_separate", "group": 4, "widths": [8, 16], "components": 4}


def read(task):
    settings = RunSettings.model_validate({"features": FEATURES, "model": MODEL | {"dropout": 0.0}, "task": task})
    system = untrained(settings, "cpu", 0).eval()
    return build_readout("separation_energy", EvaluateSettings()), system, example_batch(system, settings, 4, "cpu")[0]


def test_a_map_is_the_share_of_the_energy_that_the_mask_of_each_place_keeps():
    alone = SMALL | {"pool": "mean"}
    for task in (alone, {"kind": "several", "tasks": {"sounds": {"task": alone}, "match": {"task": {"kind": "mma"}}}}):
        readout, system, inputs = read(task)
        assert readout.reason_against(system) is None
        maps = readout(system, inputs)
        separate = system.task if task is alone else system.task.tasks["sounds"]
        masks = separate.place_masks(system.model, inputs)
        energy = Stft.of(system.model.spectrogram.settings)(inputs["sound"]).abs().square()
        kept = linear_frequency_weights(separate.bins, 1, Stft(1, FEATURES["stft_frame"], 1)).float() @ masks.square()
        expected = (kept * energy).sum((2, 3)) / energy.sum((2, 3))
        rows, columns = system.model.grids["visual"].shape[1:]
        torch.testing.assert_close(maps, expected.view(4, rows, columns), rtol=1e-4, atol=1e-6)
        assert 0 < maps.min() < maps.max() < 1
        one = readout(system, {name: values[:1] for name, values in inputs.items()})
        torch.testing.assert_close(one, maps[:1], rtol=1e-4, atol=1e-6)


def test_a_low_tone_counts_no_more_than_a_high_one_for_all_the_bins_it_has(monkeypatch):
    readout, system, inputs = read(SMALL)
    task, features = system.task, system.model.spectrogram.settings
    time_s = torch.arange(features.audio_samples) / features.audio_rate_hz
    low, high = (torch.sin(2 * torch.pi * pitch_hz * time_s) for pitch_hz in (180, 2300))
    inputs["sound"] = (0.1 * low + 0.2 * high).expand_as(inputs["sound"])
    places = system.model.grids["visual"].count
    below = torch.zeros(4, places, task.bins, features.time_frames)
    middle = task.plane.magnitude(torch.stack([low, high])[:, None])[:, 0].sum(2).argmax(1).sum() // 2
    below[:, 0, :middle] = 1  # the first place keeps the low tone, all others the high one
    below[:, 1:, middle:] = 1
    monkeypatch.setattr(task, "masks_in_turn", lambda *_: iter(below.split(8, dim=1)))
    first, *others = readout(system, inputs)[0].flatten().tolist()
    assert first == pytest.approx(0.2, abs=0.02)  # (0.1 / 0.2)² to 1
    assert others == pytest.approx([0.8] * (places - 1), abs=0.02)
    inputs["sound"] = torch.zeros_like(inputs["sound"])
    assert readout(system, inputs).eq(0).all()


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ({"kind": "mma"}, "it needs a model that was trained by mix-and-separate, found task.kind = mma"),
        (SMALL | {"head": "audio"}, "it needs a mask of each place, and task.head is audio"),
    ],
)
def test_without_a_mask_of_each_place_it_says_why_there_is_no_map(task, reason):
    readout, system, _ = read(task)
    assert readout.reason_against(system) == reason
