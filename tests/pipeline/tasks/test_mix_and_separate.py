"""Mix-and-separate: what is mixed with what, the masks that are sought, and the heads that make them."""

import pytest
import torch
import torch.nn.functional as F

from pipeline.errors import RunError, SettingsError
from pipeline.features.masks import Stft, ideal_binary_mask, ideal_ratio_mask
from pipeline.features.settings import FeatureSettings
from pipeline.features.spectrogram import LogFrequencySpectrogram, log_frequency_warp
from pipeline.models.contract import EmbedOnce
from pipeline.samples.metadata import SampleMetadata
from pipeline.tasks.mix_and_separate_settings import MixAndSeparateSettings
from pipeline.tasks.mixing import draw_mixtures
from pipeline.train.load import untrained
from pipeline.train.run_settings import RunSettings
from pipeline.train.system import example_batch
from tiny_shards import FEATURES, MODEL

SMALL = {"kind": "mix_and_separate", "group": 4, "widths": [8, 16], "components": 4}
TOWERS = {"kind": "towers"} | {name: MODEL[name] for name in ("width", "visual_embedder", "audio_embedder")}


def samples_of(*videos):
    times = {"frame_times_s": [0.0], "audio_start_s": 0, "audio_rate_hz": 11025, "audio_samples": 100}
    return [SampleMetadata(video=video, source=video, **times) for video in videos]


def system_of(model=MODEL, **task):
    model = model if "kind" in model else model | {"dropout": 0.0}
    sections = {"features": FEATURES, "model": model, "task": SMALL | task, "train": {"batch_size": 24}}
    settings = RunSettings.model_validate(sections)
    return untrained(settings, "cpu", 0), settings


def draw(count, group=4, added=1, seed=3, start=0, videos=None):
    names = videos or [f"v{position}" for position in range(start, start + count)]
    return draw_mixtures(seed, range(start, start + count), samples_of(*names), group, added, "mix")


@pytest.mark.parametrize(("group", "added"), [(4, 1), (6, 2), (8, 3), (5, 1), (5, 3)])
def test_each_sound_is_sought_once_in_a_mixture_with_others_of_its_group(group, added):
    mixtures = draw(2 * group, group, added)
    sought = [index for one in mixtures for index, counts in zip(one.members, one.counted, strict=True) if counts]
    assert sorted(sought) == list(range(2 * group))
    for one in mixtures:
        assert len(set(one.members)) == 1 + added
        assert len({index // group for index in one.members}) == 1


def test_a_groups_mixtures_are_the_same_however_positions_are_cut():
    whole = draw(16)
    assert whole[2:4] == [type(one)(tuple(index + 4 for index in one.members), one.counted) for one in draw(4, start=4)]
    assert len({tuple(one.members) for seed in range(20) for one in draw(4, seed=seed)}) > 6
    assert draw(16, seed=4) != whole


def test_a_sound_is_not_sought_in_a_mixture_with_another_of_its_own_scene():
    for seed in range(20):  # where another order avoids it, it is found
        mixtures = draw(4, seed=seed, videos=["a", "a", "b", "b"])
        assert all(all(one.counted) for one in mixtures)
        assert all({index // 2 for index in one.members} == {0, 1} for one in mixtures)
    assert not any(any(one.counted) for one in draw(4, videos=["a"] * 4))
    three = draw(4, videos=["a", "a", "a", "b"])
    assert sorted(sum(one.counted) for one in three) == [0, 2]


def test_of_what_is_left_over_each_sound_is_in_a_mixture_and_one_alone_in_none():
    mixtures = draw(3)
    assert [one.counted for one in mixtures] == [(True, True), (True, False)]
    assert mixtures[1].members[1] == mixtures[0].members[0]
    (alone,) = draw(1)
    assert (alone.members, alone.counted) == ((0, 0), (False, False))


@pytest.mark.parametrize("added", [1, 2])
def test_mixtures_are_sums_of_sounds_and_go_through_the_embedder_with_them(added):
    system, settings = system_of(group=6, added=added)
    inputs, targets = example_batch(system, settings, 12, "cpu")
    mixtures = system.task.further(inputs, targets)["mixtures"]["sound"]
    for members, mixture in zip(targets["members"], mixtures, strict=True):
        torch.testing.assert_close(mixture, sum(inputs["sound"][index] for index in members))
    seen = []
    system.model.audio_embedder.register_forward_hook(lambda module, given, got: seen.append(len(got)))
    _, sums = system(inputs, targets)
    assert seen == [12 + 12 // (added + 1)]
    assert sums[1] == 12
    assert sums[4] == 0


@pytest.mark.parametrize("mask", ["ratio", "binary"])
@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_the_loss_compares_with_the_ideal_mask_in_the_plane(mask, loss, monkeypatch):
    system, settings = system_of(mask=mask, loss=loss, bins=24)
    inputs, targets = example_batch(system, settings, 4, "cpu")
    features = settings.features
    time_s = torch.arange(features.audio_samples) / features.audio_rate_hz
    sound = torch.stack([torch.sin(6.283 * pitch * time_s) for pitch in (200, 500, 1200, 3000)])
    inputs["sound"] = sound[:, None]
    mixed = torch.stack([sound[list(members)].sum(0) for members in targets["members"].tolist()])
    warp = log_frequency_warp(features.stft_frame // 2 + 1, 24, features.warp == "area").float()
    own, mixtures = (warp @ Stft.of(features)(one).abs() for one in (sound, mixed))
    own, mixtures = own[targets["sample"]], mixtures[targets["mixture"]]
    wanted = (ideal_binary_mask if mask == "binary" else ideal_ratio_mask)(own, mixtures)
    logits = torch.randn(len(wanted), 2, *wanted.shape[1:])  # of the places that are like the sound, and of one unlike
    monkeypatch.setattr(system.task, "_logits", lambda *_: logits)
    truths = ((logits[:, 0], wanted, 1), (logits[:, 1], torch.zeros_like(wanted), settings.task.elsewhere))
    if loss == "bce":
        weight = mixtures.log1p().clamp(1e-3, 10)
        expected = sum(each * F.binary_cross_entropy_with_logits(one, truth, weight) for one, truth, each in truths)
    else:
        expected = sum(each * F.mse_loss(one.sigmoid(), truth) for one, truth, each in truths)
    found, _ = system(inputs, targets)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    monkeypatch.setattr(system.task, "_logits", lambda *_: (wanted[:, None] - 0.5) * 100)
    figures = settings.task.figures(dict(zip(settings.task.sums, system(inputs, targets)[1].tolist(), strict=True)))
    assert figures["energy_right"] == pytest.approx(1)
    assert figures["gain_db"] > 5


@pytest.mark.parametrize("model", [MODEL, TOWERS], ids=["gavt", "towers"])
@pytest.mark.parametrize("head", ["class", "audio", "places"])
def test_every_head_learns_and_masks_the_models_plane(model, head):
    if (model, head) == (TOWERS, "class"):
        with pytest.raises(
            ValueError, match=r"streams visual, audio and class .* task\.head = class, found none class"
        ):
            system_of(model, head=head)
        return
    system, settings = system_of(model, head=head)
    system.train()
    inputs, targets = example_batch(system, settings, 8, "cpu")
    optimizer, losses = torch.optim.AdamW(system.parameters(), 3e-3), []
    for _ in range(15):
        loss, _ = system(inputs, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.97 * losses[0]
    unused = [name for name, one in system.task.named_parameters() if one.grad is None]
    assert not unused
    masks = system.eval().task.frame_masks(system.model, inputs)
    assert masks.shape == (8, settings.features.frequency_bins, settings.features.time_frames)
    assert not masks.requires_grad
    assert 0 < masks.min() < masks.max() < 1
    other = system.task.frame_masks(system.model, inputs | {"frames": 1 - inputs["frames"]})
    assert (head == "audio" and model is TOWERS) == torch.equal(other, masks)  # their audio tokens see no frame


@pytest.mark.parametrize("model", [MODEL, TOWERS], ids=["gavt", "towers"])
def test_each_place_has_a_mask_of_its_own(model):
    system, settings = system_of(model, bins=40, pool="mean")
    inputs, _ = example_batch(system.eval(), settings, 2, "cpu")
    task, tokens = system.task, system.model.grids["visual"].count
    all_places = task.place_masks(system.model, inputs)
    assert all_places.shape == (2, tokens, 40, settings.features.time_frames)
    assert not torch.allclose(all_places[:, 0], all_places[:, 1])
    chosen = F.one_hot(torch.tensor([[3, 0], [1, 5]]), tokens).float()
    picked = torch.stack([all_places[0, [3, 0]], all_places[1, [1, 5]]])
    torch.testing.assert_close(task.place_masks(system.model, inputs, chosen), picked, rtol=1e-4, atol=1e-5)
    mean = torch.full((2, 1, tokens), 1 / tokens)
    whole = task.frame_masks(system.model, inputs)
    torch.testing.assert_close(task.place_masks(system.model, inputs, mean)[:, 0], whole, rtol=1e-4, atol=1e-5)
    with pytest.raises(TypeError, match="expected the head places, found audio"):
        system_of(head="audio")[0].task.place_masks(system.model, inputs)


def test_places_are_pooled_by_how_similar_they_are_to_the_sound_that_is_sought():
    system, _ = system_of(TOWERS, sharpness=1000)
    tokens = torch.randn(2, 5, 16, requires_grad=True)
    audio = 7 * torch.stack([tokens[0, 3], tokens[1, 1]])[:, None].expand(-1, system.model.grids["audio"].count, -1)
    weights = system.task._weights(tokens, audio)
    torch.testing.assert_close(weights, F.one_hot(torch.tensor([3, 1]), 5).float(), rtol=0, atol=1e-3)
    model = TOWERS | {"width": 16}
    system, settings = system_of(model)
    inputs, targets = example_batch(system, settings, 4, "cpu")
    once = EmbedOnce(system.model, inputs, system.task.further(inputs, targets))
    own = once.embed(inputs)
    own["audio"].retain_grad()
    system.task(once, inputs, targets)[0].backward()
    assert own["audio"].grad is None or not own["audio"].grad.any()  # the sound itself teaches nothing


def test_a_place_that_is_like_no_sound_of_the_mixture_is_drawn_to_keep_nothing():
    system, _ = system_of(TOWERS)
    count = system.model.grids["audio"].count
    tokens = torch.eye(16)[None, :5].expand(64, -1, -1)
    sounds = [tokens[:, index : index + 1].expand(-1, count, -1) for index in (0, 4)]
    draws = torch.arange(64) / 64
    like, unlike = system.task._places(tokens, sounds[0], sounds, draws).unbind(1)
    assert like.argmax(1).unique().tolist() == [0]
    assert unlike.sum(0)[[0, 4]].tolist() == [0, 0]
    assert all(20 <= drawn <= 22 for drawn in unlike.sum(0)[1:4].tolist())
    for without in ({"elsewhere": 0}, {"pool": "mean"}):
        system, _ = system_of(TOWERS, **without)
        assert system.task._places(tokens, sounds[0], sounds, draws).shape == (64, 1, 5)


def test_a_frames_sound_is_that_of_the_places_that_keep_most_of_the_mixture(monkeypatch):
    system, settings = system_of(TOWERS)
    inputs, _ = example_batch(system, settings, 2, "cpu")
    places = system.model.grids["visual"].count
    kept = F.one_hot(torch.tensor([1, places - 1]), places).float()
    monkeypatch.setattr(system.task, "place_energies", lambda *_: (3 * kept, torch.full((2,), 3.0)))
    of_frames = system.task.frame_masks(system.model, inputs)
    pooled = (20 * kept).softmax(1)[:, None]
    torch.testing.assert_close(of_frames, system.task.place_masks(system.model, inputs, pooled)[:, 0])


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "beside dense contrast"])
def test_sounds_are_heard_once_for_tokens_and_masks_to_the_bit(alone, monkeypatch):
    contrast = {"kind": "dense_contrastive", "group": 4, "projection": 8}
    mixing = SMALL if alone else {"kind": "several", "tasks": {"a": {"task": contrast}, "b": {"task": SMALL}}}
    settings = RunSettings.model_validate({"features": FEATURES, "model": TOWERS, "task": mixing})
    system = untrained(settings, "cpu", 0)
    inputs, targets = example_batch(system, settings, 8, "cpu")
    heard, results = [], []
    magnitude = LogFrequencySpectrogram.magnitude
    monkeypatch.setattr(
        LogFrequencySpectrogram, "magnitude", lambda self, sound: heard.append(len(sound)) or magnitude(self, sound)
    )
    for hears, expected in ((True, [12]), (False, [12, 8, 4])):  # eight sounds and four mixtures
        for task in (system.task, system.task if alone else system.task.tasks["b"]):
            assert task.hears or not hears
            task.hears = hears
        system.zero_grad()
        loss, sums = system(inputs, targets)
        loss.backward()
        assert heard == expected
        heard.clear()
        results.append([loss, sums, *(one.grad for one in system.parameters() if one.grad is not None)])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_what_can_not_be_separated_is_said():
    with pytest.raises(ValueError, match="added below group = 4, found 4"):
        MixAndSeparateSettings(group=4, added=4)
    system, _ = system_of()
    one_video = samples_of(*["v"] * 64)
    with pytest.raises(SettingsError, match=r"data\.validation: expected sounds that can be mixed, found none among"):
        system.task.check_validation(0, 64, True, lambda positions: [one_video[place] for place in positions])
    system.task.check_validation(0, 64, True, lambda positions: samples_of(*map(str, positions)))
    watch, nothing = system.task.data_watch(), dict.fromkeys(MixAndSeparateSettings().sums, 0.0)
    assert watch.add(nothing, 200, False) is None
    with pytest.raises(RunError, match=r"data\.train: expected sounds that can be mixed, .* first 264 samples"):
        watch.add(nothing, 64, False)


def test_the_mask_may_be_finer_than_what_the_model_hears():
    features = FeatureSettings.model_validate(FEATURES)
    system, _ = system_of(bins=3 * features.frequency_bins)
    assert system.task.bins == 3 * features.frequency_bins
    assert not system.task.hears  # in other bins than the model
    assert system.task.plane.settings.frequency_bins == system.task.bins
    assert system.model.spectrogram.settings.frequency_bins == features.frequency_bins
