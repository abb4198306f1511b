"""Sounds that are moved against the frames, by how much, and segments that find their own sound."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from moving_shards import MOVING, write_moving_set
from pipeline.errors import SettingsError
from pipeline.experiment import ExperimentSettings
from pipeline.samples.metadata import SampleMetadata
from pipeline.shards.members import Sample
from pipeline.sound.flac import encode_flac
from pipeline.stream.decode import decode_sample
from pipeline.stream.fields.registry import fields_of
from pipeline.stream.opened_sample import OpenedSample
from pipeline.tasks.synchronisation import Lags, Synchronisation, draw_offset, in_sync
from pipeline.tasks.synchronisation_settings import SynchronisationSettings
from pipeline.tasks.task import System
from pipeline.train.load import load_trained, untrained
from pipeline.train.loop import train
from pipeline.train.run_settings import RunSettings
from pipeline.train.system import example_batch
from stub_system import StubModel
from tiny_shards import RATE_HZ

SMALL = {"kind": "synchronisation", "range_s": 0.1, "jitter_s": 0.01, "classes": 5, "segments": 4, "group": 4}
EMBEDDER = {"kind": "convolution", "widths": [8, 16, 16], "norm": "group", "kernel": 4, "last_kernel": 1}
TOWERS = {"kind": "towers", "visual_embedder": EMBEDDER, "audio_embedder": EMBEDDER, "width": 16}
GAVT = {"kind": "gavt", "visual_embedder": EMBEDDER, "audio_embedder": EMBEDDER, "audio_alignment": "frames"}
GAVT |= {"width": 16, "feed_forward": 32, "layers": 1, "heads": 2, "dropout": 0.0}


@pytest.fixture(autouse=True)
def no_wandb(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


def settings_of(model=TOWERS, **words):
    head = {"head": "lags"} if model is TOWERS else {}
    return RunSettings.model_validate({"features": MOVING, "model": model, "task": SMALL | head | words})


def system_of(settings):
    system = untrained(settings, "cpu", 0).train()
    assert isinstance(system.task, Synchronisation)
    return system


def sample(video="v"):
    return SampleMetadata(
        video=video, source=f"{video}.mp4", frame_times_s=[0], audio_start_s=0, audio_rate_hz=1, audio_samples=1
    )


def test_a_sound_is_moved_to_where_the_clock_of_its_video_says_to_within_a_sample():
    """A click lies as much earlier in the model's sound as it is that of later."""
    settings = settings_of(model=GAVT)
    length, click = 8190, 4200
    waveform = np.random.default_rng(0).integers(-50, 50, length).astype(np.int16)
    waveform[click] = 30000
    metadata = sample().model_copy(update={"audio_rate_hz": RATE_HZ, "audio_samples": length})
    stored = Sample("key", metadata, [], encode_flac(waveform[None], RATE_HZ))
    fields = [one for one in fields_of(settings.features, settings.fields, augment=False) if one.sound is not None]
    arrays = decode_sample(stored, fields).arrays
    inputs = {name: torch.from_numpy(array)[None] for name, array in arrays.items()}
    task = system_of(settings).task
    unmoved = task.moved(inputs, torch.zeros(1, dtype=torch.float64))
    assert torch.equal(unmoved, inputs["sound"])
    lay = int(unmoved[0, 0].argmax())
    for offset_s in (*settings.task.offsets_s, -0.11, 0.11, 0.0123):
        (moved,) = task.moved(inputs, torch.tensor([offset_s], dtype=torch.float64))
        late = lay - int(moved[0].argmax())
        assert abs(late - offset_s * RATE_HZ) <= 1
        opened = OpenedSample(stored, fields)
        assert np.array_equal(moved, opened.cut_sound(fields[0].format, late / RATE_HZ))


def test_the_offset_is_drawn_by_position_and_lies_beside_that_of_its_class():
    task = SynchronisationSettings()
    assert task.offsets_s[0] == -2.0
    assert task.offsets_s[10:12] == pytest.approx((0.0, 0.2))
    drawn = [draw_offset(task, 0, position, "synchronisation") for position in range(2000)]
    assert drawn[7] == draw_offset(task, 0, 7, "synchronisation")
    assert drawn[7] != draw_offset(task, 1, 7, "synchronisation")
    late = [offset_s - task.offsets_s[number] for offset_s, number in drawn]
    assert max(map(abs, late)) <= 0.05
    assert np.std(late) > 0.02
    counts = np.bincount([number for _, number in drawn], minlength=21)
    assert counts.min() > 50


def test_the_paper_s_binary_form_shows_every_other_sample_in_sync_and_moves_the_others_far():
    task = SynchronisationSettings(answer="in_sync", range_s=5.8, least_s=2.0, jitter_s=0.0)
    drawn = [draw_offset(task, 0, position, "synchronisation") for position in range(1000)]
    moved = np.array([offset_s for offset_s, number in drawn if number != 10])
    assert all(offset_s == 0 for offset_s, number in drawn if number == 10)
    assert 400 < len(moved) < 600
    assert (np.abs(moved).min() >= 2.0, np.abs(moved).max() <= 5.8) == (True, True)
    assert 0.4 < (moved > 0).mean() < 0.6
    assert [metric.chance for metric in task.metrics if metric.name == "accuracy"] == [0.5]


@pytest.mark.parametrize("model", [TOWERS, GAVT], ids=["towers", "gavt"])
def test_loss_figures_and_gradient_are_the_same_however_a_step_is_cut(model):
    settings = settings_of(model)
    system = system_of(settings)
    inputs, _ = example_batch(system, settings, 16, "cpu")
    found = []
    for size in (16, 8, 4):
        system.zero_grad()
        total = torch.zeros(len(settings.task.sums), dtype=torch.float64)
        for start in range(0, 16, size):
            part = {name: one[start : start + size] for name, one in inputs.items()}
            metadata = [sample(f"v{place}") for place in range(start, start + size)]
            own = system.task.targets(settings.seed, range(start, start + size), metadata, "example")
            loss, sums = system(part, own)
            (loss * size / 16).backward()
            total += sums
        gradients = torch.cat([one.grad.flatten() for one in system.parameters() if one.grad is not None])
        found.append((total, gradients))
    for total, gradients in found[1:]:
        torch.testing.assert_close(total, found[0][0])
        torch.testing.assert_close(gradients, found[0][1], rtol=1e-4, atol=1e-6)


def test_segments_are_contrasted_with_their_group_but_not_with_other_parts_of_their_video():
    task = system_of(settings_of()).task
    metadata = [sample(name) for name in ("a", "b", "a", "c", "d")]
    allowed = task.targets(0, range(5), metadata, "train")["contrast"]
    expected = torch.ones(5, 5, dtype=torch.bool)
    expected[4, :4] = expected[:4, 4] = expected[0, 2] = expected[2, 0] = False
    assert torch.equal(allowed, expected)
    seen, heard = (F.normalize(torch.randn(5, 4, 16), dim=-1) for _ in range(2))
    loss, found = task._contrast(seen, heard, allowed)
    ways = []
    for one, other in ((seen, heard), (heard, seen)):
        for clip in range(5):
            among = torch.cat([other[place] for place in range(5) if allowed[clip, place]])
            first = sum(len(other[place]) for place in range(clip) if allowed[clip, place])
            for part in range(4):
                alike = among @ one[clip, part] / 0.07
                ways.append((alike.logsumexp(0) - alike[first + part], int(alike.argmax()) == first + part))
    torch.testing.assert_close(loss, torch.stack([one for one, _ in ways]).mean())
    assert found == pytest.approx(np.mean([right for _, right in ways]))


def test_what_is_alike_by_an_offset_apart_is_told_as_that_offset():
    settings = SynchronisationSettings(range_s=0.4, classes=9, head="lags", jitter_s=0.0)
    seen_s, heard_s = [0.1 * number for number in range(10)], [0.05 * number - 0.02 for number in range(22)]
    lags = Lags(settings, seen_s, heard_s)
    lags.reset_parameters()
    events = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))

    def features(times_s):
        """Of a world that is another one every twentieth of a second."""
        return F.normalize(events[[round(time * 20) + 100 for time in times_s]], dim=-1)[None]

    for number, offset_s in enumerate(settings.offsets_s):
        seen = torch.stack([features([time + 2 for time in seen_s]), features(seen_s)], 1)  # one place is of elsewhen
        logits = lags(seen, features([time + offset_s for time in heard_s]))
        assert logits.shape == (1, 2, 9)
        assert int(logits[0, 1].argmax()) == number
        assert logits[0, 1].max() > logits[0, 0].max()
    counterparts = lags._counterparts(logits)
    torch.testing.assert_close(counterparts.sum((1, 2)), torch.ones(9))


def test_how_sure_it_is_of_being_in_sync_is_the_middle_class_against_all_others():
    logits = torch.randn(3, 5)
    chances = logits.softmax(1)[:, 2]
    torch.testing.assert_close(in_sync(logits), torch.log(chances / ((1 - chances) / 4)))
    assert in_sync(torch.ones(1, 5)).abs() < 1e-6  # it makes no difference
    settings = settings_of(model=GAVT)
    system = system_of(settings)
    inputs, _ = example_batch(system, settings, 4, "cpu")
    embedded = system.model.embed(inputs)
    assert system.task.scores
    assert torch.equal(system.task.score(system.model.fuse(embedded)), system.task.match(system.model, embedded))
    towers = system_of(settings_of())
    assert (towers.task.scores, towers.task.matches) == (False, True)
    alone = system_of(settings_of(offset_weight=0))
    assert (alone.task.scores, alone.task.matches) == (False, False)


@pytest.mark.parametrize("off", [{"offset_weight": 0}, {"segment_weight": 0, "clip_weight": 0}, {"clip_weight": 0}])
def test_what_is_left_out_has_no_weights_no_figures_and_no_sound(off):
    settings = settings_of(**off)
    system = system_of(settings)
    inputs, targets = example_batch(system, settings, 8, "cpu")
    loss, sums = system(inputs, targets)
    loss.backward()
    assert all(one.grad is not None for one in system.parameters())
    wide = settings.task.wide_sound
    assert (wide in inputs) == ("offset_weight" not in off)
    names = {metric.name for metric in settings.task.metrics}
    assert names == settings.task.figures(dict(zip(settings.task.sums, sums.tolist(), strict=True))).keys()
    assert ("accuracy" in names) == ("offset_weight" not in off)
    assert ("segments_found" in names) == ("segment_weight" not in off)


def test_a_model_whose_tokens_lie_in_no_time_is_refused():
    with pytest.raises(SettingsError, match="a model whose visual tokens lie in time"):
        Synchronisation(settings_of().task, StubModel())


def test_offsets_are_learnt_of_what_lights_up_when_it_sounds(group, tmp_path):
    data = {
        "train": str(write_moving_set(tmp_path / "train", 96, 0)),
        "validation": str(write_moving_set(tmp_path / "validation", 48, 1)),
    }
    words = {"range_s": 0.14, "jitter_s": 0.0, "classes": 3, "segment_weight": 0, "clip_weight": 0, "width": 32}
    content = settings_of(**words).model_dump(mode="json")
    content["features"]["augment"] |= {"rotation_probability": 0, "resize_minimum": 1}
    content["data"] |= data | {"workers": 0}
    content["train"] |= {"steps": 80, "batch_size": 16, "learning_rate": 1e-2, "log_every": 40, "validate_every": 80}
    settings = ExperimentSettings.model_validate(content)
    result = train(settings, str(tmp_path / "run"), group, lambda record: None)
    assert result.last["validation/accuracy"] > 0.6  # chance is a third
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["validation/within_one"] >= rows[-1]["validation/accuracy"]
    assert isinstance(load_trained(str(tmp_path / "run"), "cpu").system, System)
