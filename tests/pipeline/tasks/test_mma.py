import torch

from pipeline.samples.metadata import SampleMetadata
from pipeline.tasks.mma import draw_pairs, shows_all
from pipeline.tasks.settings import MmaSettings


def sample(labels: list[str], visible: list[str] | None = None) -> SampleMetadata:
    return SampleMetadata(
        video="v", source="v", frame_times_s=[0], audio_start_s=0, audio_rate_hz=1, audio_samples=1,
        labels=labels, visible=visible,
    )  # fmt: skip


SAMPLES = [sample([chr(97 + i % 4)]) for i in range(64)]


def test_partners_come_from_the_samples_own_group():
    pairs = draw_pairs(MmaSettings(), 0, range(64), SAMPLES)
    own = torch.arange(64)
    assert torch.equal(pairs.frame // 8, own // 8)
    assert torch.equal(pairs.match == 1, pairs.frame == own)
    assert 20 <= int(pairs.match.sum()) <= 44


def test_pairs_do_not_depend_on_how_positions_are_cut_into_batches():
    whole = draw_pairs(MmaSettings(), 5, range(128, 192), SAMPLES)
    for size in (8, 16, 32):
        for start in range(0, 64, size):
            piece = draw_pairs(MmaSettings(), 5, range(128 + start, 128 + start + size), SAMPLES[start : start + size])
            assert torch.equal(piece.frame + start, whole.frame[start : start + size])
            assert torch.equal(piece.match, whole.match[start : start + size])


def test_both_shows_each_sound_with_its_own_frame_and_with_anothers():
    pairs = draw_pairs(MmaSettings(pairs="both"), 0, range(64), SAMPLES)
    own = torch.arange(64)
    assert torch.equal(pairs.sound, torch.cat([own, own]))
    assert torch.equal(pairs.frame[:64], own)
    assert torch.equal(pairs.match, torch.cat([torch.ones(64), torch.zeros(64)]).long())
    assert not torch.any(pairs.frame[64:] == own)


def test_positions_and_seeds_draw_differently():
    drawn = [
        draw_pairs(MmaSettings(), seed, range(first, first + 64), SAMPLES).match.tolist()
        for seed in (0, 1)
        for first in (0, 64)
    ]
    assert len({tuple(d) for d in drawn}) == 4


def test_unlike_never_pairs_a_sound_with_a_frame_that_shows_it():
    pairs = draw_pairs(MmaSettings(negatives="unlike"), 0, range(64), SAMPLES)
    for sound, frame in enumerate(pairs.frame.tolist()):
        assert frame == sound or SAMPLES[frame].labels != SAMPLES[sound].labels


def test_a_frame_shows_a_sound_only_if_it_shows_all_of_it():
    assert shows_all(sample(["x"], ["a", "b", "c"]), sample(["a", "c"]))
    assert not shows_all(sample(["x"], ["a", "b"]), sample(["a", "c"]))
    assert not shows_all(sample([], ["a"]), sample([]))


def test_pairs_do_not_depend_on_the_order_of_the_groups_in_a_batch():
    whole = draw_pairs(MmaSettings(), 5, range(64), SAMPLES)
    turned = draw_pairs(MmaSettings(), 5, [*range(32, 64), *range(32)], SAMPLES[32:] + SAMPLES[:32])
    assert torch.equal((turned.frame + 32) % 64, torch.cat([whole.frame[32:], whole.frame[:32]]))
