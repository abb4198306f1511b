"""How alike the tokens of frames and sounds are."""

import pytest
import torch
import torch.nn.functional as F

from pipeline.models.contract import TokenGrid
from pipeline.tasks.similarity_volume import (
    audio_directions,
    entanglement,
    heard_times,
    in_silence,
    log_mean_exp,
    negative_part,
    pool,
    total_variation,
    visual_directions,
    volume,
)

HEADS, PLACES, FREQUENCIES, TIMES = 2, 6, 3, 4
GRID = TokenGrid((("frequency", FREQUENCIES), ("time", TIMES)))
WIDTH = 8


def tokens(samples: int, count: int, seed: int) -> torch.Tensor:
    return torch.randn(samples, count, WIDTH, generator=torch.Generator().manual_seed(seed))


def by_hand(seen: torch.Tensor, heard: torch.Tensor) -> torch.Tensor:
    """Cosines [K, F, T, N] of one frame's tokens [N, D] and one sound's [F·T, D], one by one."""
    found = torch.zeros(HEADS, FREQUENCIES, TIMES, PLACES)
    for head, frequency, time, place in torch.cartesian_prod(*map(torch.arange, found.shape)).tolist():
        part = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
        one, other = seen[place, part], heard[frequency * TIMES + time, part]
        found[head, frequency, time, place] = F.cosine_similarity(one, other, dim=0)
    return found


def test_a_similarity_is_the_cosine_of_a_head_averaged_over_frequencies() -> None:
    seen, heard = tokens(2, PLACES, 0), tokens(3, FREQUENCIES * TIMES, 1)
    similar = volume(visual_directions(seen, HEADS)[None], audio_directions(heard, GRID, HEADS)[None])
    assert similar.shape == (1, 2, 3, HEADS, TIMES, PLACES)
    for frame, sound in ((0, 0), (1, 2)):
        torch.testing.assert_close(similar[0, frame, sound], by_hand(seen[frame], heard[sound]).mean(1))


def test_tokens_without_a_time_are_of_one_time() -> None:
    heard = tokens(2, 5, 1)
    directions = audio_directions(heard, TokenGrid((("token", 5),)), 1)
    torch.testing.assert_close(directions[:, 0, 0], F.normalize(heard, dim=2).mean(1))


@pytest.mark.parametrize("gamma", [1e-2, 8.0, 40.0])
def test_log_mean_exp_is_finite_between_mean_and_maximum_of_any_cosines(gamma: float) -> None:
    cosines = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0], [-1.0, 0.2, 0.5]], requires_grad=True)
    found = log_mean_exp(cosines, gamma)
    torch.testing.assert_close(found[:2], torch.tensor([-1.0, 1.0]), rtol=0, atol=1e-4)
    assert cosines[2].mean() <= found[2] <= cosines[2].max()
    found.sum().backward()
    assert cosines.grad is not None
    assert cosines.grad.isfinite().all()


@pytest.mark.parametrize("over_space", ["max", "log_mean_exp"])
def test_heads_are_taken_by_the_highest_places_pooled_and_heard_times_averaged(over_space: str) -> None:
    similar = torch.rand(1, 2, 2, HEADS, TIMES, PLACES, generator=torch.Generator().manual_seed(0)) * 2 - 1
    heard = torch.tensor([[[True, True, False, True], [True, False, False, False]]])
    found = pool(similar, heard, over_space, 5.0)
    for frame, sound in torch.cartesian_prod(torch.arange(2), torch.arange(2)).tolist():
        highest = similar[0, frame, sound].amax(0)
        pooled = highest.amax(1) if over_space == "max" else torch.log(torch.exp(5 * highest).mean(1)) / 5
        torch.testing.assert_close(found[0, frame, sound], pooled[heard[0, sound]].mean())


def test_log_mean_exp_goes_from_the_mean_to_the_maximum() -> None:
    similar = torch.tensor([0.1, 0.5, -0.3]).view(1, 1, 1, 1, 1, 3)
    always = torch.ones(1, 1, 1, dtype=torch.bool)
    assert pool(similar, always, "log_mean_exp", 1e-3).item() == pytest.approx(0.1, abs=1e-3)
    assert pool(similar, always, "log_mean_exp", 40).item() == pytest.approx(0.5, abs=0.03)


def test_digital_silence_is_not_heard_unless_there_is_nothing_else() -> None:
    sound = torch.zeros(2, 2, 100)
    sound[0, 1, 30:40] = 0.5
    assert heard_times(sound, 4).tolist() == [[False, True, False, False], [True] * 4]


def test_regularisers_are_what_their_source_computes() -> None:
    similar = torch.rand(1, 2, 2, HEADS, TIMES, PLACES, generator=torch.Generator().manual_seed(1)) * 2 - 1
    silent = torch.tensor([[[False, True, True, False], [False] * 4]])
    torch.testing.assert_close(negative_part(similar), similar.clamp(max=0).pow(2).mean())
    torch.testing.assert_close(in_silence(similar, silent), similar[0, :, 0][:, :, 1:3].abs().mean() / 4)
    assert in_silence(similar, torch.zeros_like(silent)) == 0
    own = similar[0].diagonal(dim1=0, dim2=1).movedim(-1, 0)
    torch.testing.assert_close(total_variation(own), (own[:, :, 1:] - own[:, :, :-1]).pow(2).mean())
    torch.testing.assert_close(entanglement(own), (own[:, 0] * own[:, 1]).abs().mean())
    assert entanglement(own[:, :1]) == 0
    assert total_variation(own[:, :, :1]) == 0
