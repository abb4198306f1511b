"""Triplets of Gram matrices: the loss of paper 002 worked out in another way, and what its settings are for."""

import pytest
import torch

from pipeline.models.contract import Encoded
from pipeline.samples.metadata import SampleMetadata
from pipeline.tasks.gram_triplet import GramTriplet, gram
from pipeline.tasks.gram_triplet_settings import GramTripletSettings
from stub_system import StubModel


class Segments(StubModel):
    """What is seen and heard in segments, as it is given."""

    def encode(self, placed, attention=False):
        return Encoded({f"{name}_segments": tokens for name, tokens in placed.items()}, None)


def sample(video):
    return SampleMetadata(
        video=video, source=f"{video}.mp4", frame_times_s=[0], audio_start_s=0, audio_rate_hz=1, audio_samples=1
    )


def segments_of(samples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "frames": torch.rand(samples, 10, 6, generator=generator),
        "sound": torch.rand(samples, 10, 6, generator=generator),
    }


def figures_of(task, sums):
    return task.settings.figures(dict(zip(task.settings.sums, sums.tolist(), strict=True)))


@pytest.mark.parametrize("margin", [0.7, 0.02])
def test_the_loss_is_that_of_the_paper_with_similarities_for_distances(margin):
    task, given = GramTriplet(GramTripletSettings(group=4, margin=margin), Segments()), segments_of(4)
    targets = task.targets(0, range(4), [sample(str(number)) for number in range(4)], "train")
    assert targets["counted"].all()
    loss, sums = task(Segments(), given, targets)
    losses, told = [], 0
    for number, other in enumerate(targets["other"].tolist()):
        assert other != number
        z, y, n = given["frames"][number], given["sound"][number], given["sound"][other]
        matrices = [one @ one.T for one in (z, y, n)]
        own, apart = (torch.trace(matrices[0] @ one) / matrices[0].norm() / one.norm() for one in matrices[1:])
        losses.append(max(float(apart - own) + margin, 0.0))
        told += bool(own > apart)
    assert loss.item() == pytest.approx(sum(losses) / 4, abs=1e-6)
    assert figures_of(task, sums)["told"] == told / 4


class Fused(Segments):
    """What is seen lets the sound through."""

    def encode(self, placed, attention=False):
        return super().encode(placed | {"visual": placed["visual"] + 9 * placed["audio"]})


def test_a_sound_that_is_let_through_fusion_is_rewarded_unless_frames_are_fused_with_each():
    given, found = segments_of(8), {}
    for beside in ("own", "each"):
        task = GramTriplet(GramTripletSettings(group=8, centred=True, seen_beside=beside), Fused())
        targets = task.targets(0, range(8), [sample(str(number)) for number in range(8)], "train")
        found[beside] = figures_of(task, task(Fused(), given, targets)[1])
    assert found["own"]["own_similarity"] == found["each"]["own_similarity"] > 0.9
    assert found["own"]["other_similarity"] < 0.6
    assert found["each"]["other_similarity"] > 0.9


def test_unrelated_videos_are_alike_unless_matrices_are_centred():
    given = segments_of(64)
    plain, centred = (
        (gram(given["frames"], one) * gram(given["sound"], one)).sum((1, 2)).mean().item() for one in (False, True)
    )
    assert plain > 0.9
    assert centred < 0.6


def test_what_all_segments_have_in_common_counts_for_nothing_where_matrices_are_centred():
    vectors = segments_of(3)["frames"]
    torch.testing.assert_close(gram(vectors, True), gram(vectors + torch.rand(3, 1, 6) * 5, True), atol=1e-4, rtol=0)
    torch.testing.assert_close(gram(vectors, True).flatten(1).norm(dim=1), torch.ones(3))
    assert torch.isfinite(gram(torch.zeros(2, 10, 6), True)).all()


def test_a_video_without_another_counts_for_nothing_and_is_counted():
    task, given = GramTriplet(GramTripletSettings(group=2), Segments()), segments_of(4)
    samples = [sample(name) for name in ("a", "a", "b", "c")]
    targets = task.targets(0, range(4), samples, "train")
    assert targets["counted"].tolist() == [False, False, True, True]
    loss, sums = task(Segments(), given, targets)
    pair = {name: stream[2:] for name, stream in given.items()}
    alone, _ = task(Segments(), pair, task.targets(0, range(2, 4), samples[2:], "train"))
    torch.testing.assert_close(loss, alone / 2)
    assert figures_of(task, sums)["unpaired_samples"] == 2


def test_frames_that_stand_still_have_a_finite_gradient():
    task = GramTriplet(GramTripletSettings(group=2, centred=True), Segments())
    given = {"frames": torch.ones(2, 10, 6).requires_grad_(), "sound": torch.rand(2, 10, 6).requires_grad_()}
    loss, _ = task(Segments(), given, task.targets(0, range(2), [sample("a"), sample("b")], "train"))
    loss.backward()
    assert loss.item() == pytest.approx(0.7)
    assert all(torch.isfinite(one.grad).all() for one in given.values())
