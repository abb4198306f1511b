from collections.abc import Sequence
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from chosen_pairs import targets_of
from pipeline.models.contract import Encoded, Inputs, Tokens
from pipeline.samples.metadata import SampleMetadata
from pipeline.tasks.ceiling import shows_all
from pipeline.tasks.mma import MultiModalAlignment, draw_pairs
from pipeline.tasks.mma_settings import MmaSettings, balanced_accuracy
from pipeline.tasks.task import System, Targets
from stub_system import StubModel


def sample(
    labels: list[str], visible: list[str] | None = None, video: str = "v", source: str = "", group: str | None = None
) -> SampleMetadata:
    return SampleMetadata(
        video=video, source=source or f"{video}.mp4", frame_times_s=[0], audio_start_s=0, audio_rate_hz=1,
        audio_samples=1, labels=labels, visible=visible, group=group,
    )  # fmt: skip


SAMPLES = [sample([chr(97 + i % 4)], video=f"v{i}") for i in range(64)]


def pairs_of(
    settings: MmaSettings, seed: int, positions: Sequence[int], samples: Sequence[SampleMetadata] = SAMPLES
) -> Targets:
    return draw_pairs(settings, seed, positions, samples, "train")


def numbers(drawn: Targets) -> tuple[int, int, int]:
    """Pairs that count, mismatches among them, and samples that are left out."""
    counted = drawn["counted"]
    return int(counted.sum()), int((counted & (drawn["match"] == 0)).sum()), int(drawn["known"][0])


def test_partners_come_from_the_samples_own_group():
    pairs = pairs_of(MmaSettings(), 0, range(64), SAMPLES)
    own = torch.arange(64)
    assert torch.equal(pairs["frame"] // 8, own // 8)
    assert torch.equal(pairs["match"] == 1, pairs["frame"] == own)
    assert 20 <= int(pairs["match"].sum()) <= 44


def test_pairs_do_not_depend_on_how_positions_are_cut_into_batches():
    whole = pairs_of(MmaSettings(), 5, range(128, 192), SAMPLES)
    for size in (8, 16, 32):
        for start in range(0, 64, size):
            piece = pairs_of(MmaSettings(), 5, range(128 + start, 128 + start + size), SAMPLES[start : start + size])
            assert torch.equal(piece["frame"] + start, whole["frame"][start : start + size])
            assert torch.equal(piece["match"], whole["match"][start : start + size])


def test_both_shows_each_sound_with_its_own_frame_and_with_anothers():
    pairs = pairs_of(MmaSettings(pairs="both"), 0, range(64), SAMPLES)
    own = torch.arange(64)
    assert torch.equal(pairs["sound"], torch.cat([own, own]))
    assert torch.equal(pairs["frame"][:64], own)
    assert torch.equal(pairs["match"], torch.cat([torch.ones(64), torch.zeros(64)]).long())
    assert not torch.any(pairs["frame"][64:] == own)


def test_positions_and_seeds_draw_differently():
    drawn = [
        pairs_of(MmaSettings(), seed, range(first, first + 64), SAMPLES)["match"].tolist()
        for seed in (0, 1)
        for first in (0, 64)
    ]
    assert len({tuple(d) for d in drawn}) == 4


def test_unlike_never_pairs_a_sound_with_a_frame_that_shows_it():
    pairs = pairs_of(MmaSettings(negatives="unlike"), 0, range(64), SAMPLES)
    for sound, frame in enumerate(pairs["frame"].tolist()):
        assert frame == sound or SAMPLES[frame].labels != SAMPLES[sound].labels


def test_a_frame_shows_a_sound_only_if_it_shows_all_of_it():
    assert shows_all(sample(["x"], ["a", "b", "c"]), sample(["a", "c"]))
    assert not shows_all(sample(["x"], ["a", "b"]), sample(["a", "c"]))
    assert not shows_all(sample([], ["a"]), sample([]))


def test_pairs_do_not_depend_on_the_order_of_the_groups_in_a_batch():
    whole = pairs_of(MmaSettings(), 5, range(64), SAMPLES)
    turned = pairs_of(MmaSettings(), 5, [*range(32, 64), *range(32)], SAMPLES[32:] + SAMPLES[:32])
    assert torch.equal((turned["frame"] + 32) % 64, torch.cat([whole["frame"][32:], whole["frame"][:32]]))


@pytest.mark.parametrize("pairs", ["one", "both"])
@pytest.mark.parametrize("videos", [1, 2, 3, 5])
def test_no_sample_is_its_own_negative_nor_is_another_of_its_video(videos, pairs):
    """Small sets and the borders of epochs have one sample several times in a group, or several of one video."""
    samples = [sample(["x"], video=f"v{i % videos}") for i in range(256)]
    drawn = pairs_of(MmaSettings(pairs=pairs), 0, range(256), samples)
    for frame, sound, match in zip(
        drawn["frame"].tolist(), drawn["sound"].tolist(), drawn["match"].tolist(), strict=True
    ):
        assert match == (frame == sound)
        assert match or samples[frame].video != samples[sound].video
    counted, mismatches, left_out = numbers(drawn)
    if videos == 1:
        assert (counted, mismatches, left_out) == (0, 0, 256)
    else:
        assert left_out == 0
        assert 0.4 < mismatches / counted < 0.6


@pytest.mark.parametrize("alike", [{"source": "a.mp4"}, {"group": "g"}])
def test_parts_of_one_file_and_sounds_of_one_image_are_no_negatives_of_each_other(alike):
    samples = [sample(["x"], video=f"v{i}", **(alike if i % 8 < 6 else {})) for i in range(64)]
    drawn = pairs_of(MmaSettings(pairs="both"), 0, range(64), samples)
    pairs = zip(drawn["frame"].tolist(), drawn["sound"].tolist(), strict=True)
    others = [(frame, sound) for frame, sound in pairs if frame != sound]
    assert len(others) == 64
    assert not any(frame % 8 < 6 and sound % 8 < 6 for frame, sound in others)


def test_addresses_whose_secrets_were_taken_out_may_be_of_several_videos():
    samples = [sample(["x"], video=f"v{i}", source="https://host/get?token=***") for i in range(64)]
    assert numbers(pairs_of(MmaSettings(), 0, range(64), samples))[2] == 0


def test_a_sample_without_a_partner_is_left_out_as_a_match_too():
    alone = [sample(["x"], video="v", group=None) for _ in range(8)]
    drawn = pairs_of(MmaSettings(), 1, range(16), [*SAMPLES[:8], *alone])
    assert drawn["counted"].tolist() == [True] * 8 + [False] * 8
    assert numbers(drawn)[2] == 8
    drawn = pairs_of(MmaSettings(pairs="both"), 1, range(16), [*SAMPLES[:8], *alone])
    assert numbers(drawn) == (16, 8, 8)


def test_one_label_leaves_no_pair_where_negatives_must_be_unlike():
    samples = [sample(["low"], video=f"v{i}") for i in range(64)]
    assert numbers(pairs_of(MmaSettings(negatives="unlike"), 0, range(64), samples)) == (0, 0, 64)


class GivenAnswers(StubModel):
    """A model whose class token is the alignment head's answer; its inputs are the places of the answers."""

    widths: ClassVar[dict[str, int]] = {"class": 2}

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.given = nn.Parameter(logits)

    def place(self, embedded: Tokens) -> Tokens:
        return embedded | {"class": self.given[embedded["visual"]][:, None]}


def answering(logits: Tensor) -> System:
    """Multi-modal alignment whose answer for each frame is given."""
    model = GivenAnswers(logits)
    task = MultiModalAlignment(MmaSettings(), model)
    task.head = nn.Identity()
    return System(model, task, ("frames", "sound"))


class WithPose(StubModel):
    """A model without a class token that sees persons too; each of its tokens is as wide as its stream's name."""

    widths: ClassVar[dict[str, int]] = {"visual": 6, "pose": 4, "audio": 5}

    def embed(self, inputs: Inputs) -> Tokens:
        return super().embed(inputs) | {"pose": inputs["keypoints"]}


@pytest.mark.parametrize("negatives", ["any", "ranks"])
def test_the_head_sees_the_means_of_its_streams_and_all_but_the_sound_goes_with_the_frame(negatives):
    model, settings = WithPose(), MmaSettings(streams=("pose", "audio"), negatives=negatives, group=4)
    task = MultiModalAlignment(settings, model)
    inputs = {name: torch.randn(8, 3, width) for name, width in (("frames", 6), ("keypoints", 4), ("sound", 5))}
    shown = []
    model.fuse = lambda pairs: shown.append(pairs) or Encoded(pairs, None)
    task(model, inputs, task.targets(0, range(8), [sample(["x"], video=f"v{n}") for n in range(8)], "train"))
    (pairs,) = shown
    frames, persons, sounds = (
        [(whole == one).all(2).all(1).nonzero().item() for one in pairs[name]]
        for name, whole in (("visual", inputs["frames"]), ("pose", inputs["keypoints"]), ("audio", inputs["sound"]))
    )
    assert frames == persons != sounds == list(range(8))
    expected = task.head(torch.cat([pairs["pose"].mean(1), pairs["audio"].mean(1)], 1))
    torch.testing.assert_close(task.logits(Encoded(pairs, None)), expected)


def test_the_gradient_is_the_same_however_pairs_that_are_left_out_are_spread_over_micro_batches():
    """Some micro-batches leave out all of their samples, others none; a mean of their means would weigh them alike."""
    samples = [sample(["x"], video=f"v{i if i < 20 else 20}") for i in range(64)]
    gradients, losses = [], []
    for size in (64, 16, 8):
        answers = answering(torch.randn(64, 2, generator=torch.Generator().manual_seed(1)))
        total = torch.zeros(())
        for start in range(0, 64, size):
            places = torch.arange(start, start + size)
            pairs = pairs_of(MmaSettings(), 3, places.tolist(), samples[start : start + size])
            loss, _ = answers({"frames": places, "sound": places}, pairs)
            (loss * size / 64).backward()
            total += loss.detach() * size / 64
        gradients.append(answers.model.given.grad)
        losses.append(total)
    assert gradients[0][:24].any()
    assert not gradients[0][24:].any()
    for gradient, loss in zip(gradients[1:], losses[1:], strict=True):
        torch.testing.assert_close(gradient, gradients[0])
        torch.testing.assert_close(loss, losses[0])


def test_pairs_that_are_left_out_count_in_neither_loss_nor_accuracy():
    logits = torch.tensor([[0.0, 4.0], [0.0, 4.0], [4.0, 0.0], [4.0, 0.0]])
    each = torch.arange(4)
    match = torch.tensor([1, 0, 0, 0])
    targets = targets_of(range(4), range(4), match.tolist(), counted=[True, True, True, False])
    loss, sums = answering(logits)({"frames": each, "sound": each}, targets)
    expected = torch.nn.functional.cross_entropy(logits[:3], match[:3], reduction="sum") / 4
    torch.testing.assert_close(loss, expected)
    totals = dict(zip(MmaSettings().sums, sums.tolist(), strict=True))
    assert totals["loss"] == pytest.approx(4 * expected.item())
    counts = [totals[name] for name in ("pairs", "right", "right_mismatches", "mismatches")]
    assert counts == [3, 2, 1, 2]


def test_balanced_accuracy_says_a_half_of_whoever_always_says_match():
    assert balanced_accuracy(right=90, right_mismatches=0, pairs=100, mismatches=10) == 0.5
    assert balanced_accuracy(right=95, right_mismatches=5, pairs=100, mismatches=10) == 0.75
    assert balanced_accuracy(right=100, right_mismatches=0, pairs=100, mismatches=0) is None
    assert balanced_accuracy(right=0, right_mismatches=0, pairs=0, mismatches=0) is None
