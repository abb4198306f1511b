"""Negatives of multi-modal alignment that are chosen on the device: of all processes, and hard ones."""

import sys
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from pydantic import ValidationError
from torch import Tensor, nn

from pipeline.models.contract import Tokens
from pipeline.samples.metadata import SampleMetadata
from pipeline.tasks.mma import MultiModalAlignment, draw_pairs
from pipeline.tasks.mma_settings import HardNegativesSettings, MmaSettings
from pipeline.tasks.negatives import drawn_among, may_be_shown, nearest_among
from pipeline.tasks.pairing import same_scene, scene_numbers
from pipeline.tasks.task import System, Targets
from stub_system import StubModel

BATCH, WIDTH, WORLD = 16, 4, 2


def sample(video: str, source: str = "", group: str | None = None) -> SampleMetadata:
    return SampleMetadata(
        video=video, source=source, frame_times_s=[0], audio_start_s=0, audio_rate_hz=1, audio_samples=1, group=group
    )


SAMPLES = [sample(f"v{place // 2}", f"{place // 2}.mp4") for place in range(2 * BATCH)]
"""Of each video two, one behind the other."""


def test_frames_of_one_scene_alone_may_not_be_shown() -> None:
    made = product(("a", "b"), ("", "x.mp4", "y.mp4", "https://host/get?token=***"), (None, "g", "h"))
    samples = [sample(*words) for words in made]
    numbers = torch.tensor([scene_numbers(one) for one in samples])
    shown = may_be_shown(numbers, numbers)
    for one, other in product(range(len(samples)), repeat=2):
        assert shown[one, other].item() != same_scene(samples[one], samples[other]), (samples[one], samples[other])


def test_draws_are_even_and_do_not_hang_on_the_order_of_candidates() -> None:
    generator = torch.Generator().manual_seed(0)
    positions, allowed = torch.arange(100, 112), torch.rand(5000, 12, generator=generator) < 0.6
    allowed[0] = False
    draws = torch.rand(5000, generator=generator, dtype=torch.float64)
    drawn = drawn_among(allowed, positions, draws)
    assert allowed[torch.arange(1, 5000), drawn[1:]].all()
    shuffled = torch.randperm(12, generator=generator)
    again = drawn_among(allowed[:, shuffled], positions[shuffled], draws)
    assert torch.equal(positions[shuffled][again][1:], positions[drawn][1:])
    everything = drawn_among(torch.ones_like(allowed), positions, draws)
    assert everything.bincount(minlength=12).float().div(5000).sub(1 / 12).abs().max() < 0.02


def test_the_nearest_is_the_most_alike_that_is_allowed_and_not_too_alike() -> None:
    angles = torch.tensor([0.0, 0.1, 0.4, 1.0, 3.0])
    pooled, allowed = torch.stack([angles.cos(), angles.sin()], 1), ~torch.eye(5, dtype=torch.bool)
    nothing = torch.zeros(1, 2)
    assert nearest_among(pooled, nothing, allowed[:3], 0, skip_above=1.0)[0].tolist() == [1, 0, 1]
    assert nearest_among(pooled, nothing, allowed[1:], 1, skip_above=1.0)[0].tolist() == [0, 1, 2, 3]
    assert nearest_among(pooled, nothing, allowed[:3], 0, skip_above=0.98)[0].tolist() == [2, 2, 1]
    nearest, there = nearest_among(pooled, nothing, allowed[:3], 0, skip_above=-0.5)
    assert there.tolist() == [True, True, True]
    assert nearest.tolist() == [4, 4, 4]
    allowed[:, 4] = False
    assert not nearest_among(pooled, nothing, allowed[:3], 0, skip_above=-0.5)[1].any()


def test_what_all_have_in_common_makes_none_of_them_alike() -> None:
    pooled = torch.tensor([[100.0, 1.0], [100.0, -1.0], [100.0, 1.5], [100.0, -1.5]])
    allowed = ~torch.eye(4, dtype=torch.bool)
    nearest, _ = nearest_among(pooled, pooled.mean(0, keepdim=True), allowed, 0, skip_above=0.9999)
    assert nearest.tolist() == [1, 0, 1, 0]  # what lies on the same side is the very same but for its size
    nearest, _ = nearest_among(pooled, pooled.mean(0, keepdim=True), allowed, 0, skip_above=1.1)
    assert nearest.tolist() == [2, 3, 0, 1]


class Products(StubModel):
    """Its class token is the product of what is seen and heard; both are embedded by a matrix."""

    widths: ClassVar[dict[str, int]] = {"class": WIDTH}

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.seen, self.heard = (nn.Parameter(torch.randn(WIDTH, WIDTH, generator=generator)) for _ in range(2))

    def embed(self, inputs: dict[str, Tensor]) -> Tokens:
        return {"visual": inputs["frames"][:, None] @ self.seen, "audio": inputs["sound"][:, None] @ self.heard}

    def place(self, embedded: Tokens) -> Tokens:
        return embedded | {"class": embedded["visual"] * embedded["audio"]}


def aligned(**settings: Any) -> System:
    model, task = Products(), MmaSettings.model_validate({"group": 8, **settings})
    system = System(model, MultiModalAlignment(task, model), ("frames", "sound"))
    with torch.no_grad():
        for place, one in enumerate(system.task.head.parameters()):
            one.copy_(torch.randn(one.shape, generator=torch.Generator().manual_seed(place)))
    return system.double()


def batch_of(system: System, positions: range, purpose: Any = "train") -> tuple[dict[str, Tensor], Targets]:
    """The samples at some positions: numbers as frames and sounds."""
    generator = torch.Generator().manual_seed(5)
    frames, sound = (torch.randn(2 * BATCH, WIDTH, generator=generator, dtype=torch.float64) for _ in range(2))
    settings = system.task.settings
    assert isinstance(settings, MmaSettings)
    targets = draw_pairs(settings, 1, positions, [SAMPLES[one] for one in positions], purpose)
    some = slice(positions.start, positions.stop)
    return {"frames": frames[some], "sound": sound[some]}, targets


def chosen(system: System, positions: range = range(BATCH)) -> tuple[Targets, Targets]:
    """Targets as drawn, and as they are once frames have been chosen on the device."""
    inputs, targets = batch_of(system, positions)
    assert isinstance(system.task, MultiModalAlignment)
    frames, found = system.task._choose({"visual": system.model.embed(inputs)["visual"]}, targets)
    assert frames["visual"].requires_grad
    assert not any(one.requires_grad for one in found.values())
    return targets, found


@pytest.mark.parametrize("rule", [{"negatives": "ranks"}, {"negatives": "hard", "hard": {"share": 1, "skip_above": 1}}])
def test_a_frame_of_the_same_scene_is_never_a_mismatch(rule: dict[str, Any]) -> None:
    _, found = chosen(aligned(pairs="both", **rule))
    frame, sound = found["frame"], found["sound"]
    assert torch.equal(found["match"] == 1, frame == sound)
    assert (found["match"] == 0).sum() == BATCH
    assert found["counted"].all()
    assert not ((frame // 2 == sound // 2) & (found["match"] == 0)).any()
    in_group = (frame // 8 == sound // 8)[found["match"] == 0]
    assert in_group.all() if rule["negatives"] == "hard" else not in_group.all()


def test_hard_negatives_are_as_any_until_the_model_is_warm_and_then_the_nearest_of_a_share() -> None:
    system = aligned(pairs="both", negatives="hard", hard={"warmup_steps": 10, "share": 0.5, "skip_above": 1.0})
    system.task.begin_step(9)
    plain, cold = chosen(system)
    assert all(torch.equal(plain[name], cold[name]) for name in ("frame", "match", "counted", "known"))
    _, any_of_group = batch_of(aligned(pairs="both"), range(BATCH))
    assert torch.equal(cold["frame"], any_of_group["frame"])
    system.task.begin_step(10)
    _, warm = chosen(system)
    hard = plain["hard"]
    assert 0 < hard.sum() < BATCH
    changed = warm["frame"][BATCH:] != cold["frame"][BATCH:]
    assert changed.any()
    assert not changed[~hard].any()
    inputs, _ = batch_of(system, range(BATCH))
    seen = system.model.embed(inputs)["visual"][:, 0].detach()
    centred = nn.functional.normalize(seen - seen.view(2, 8, -1).mean(1).repeat_interleave(8, 0), dim=1)
    for place in hard.nonzero().flatten().tolist():
        others = [one for one in range(place // 8 * 8, place // 8 * 8 + 8) if one // 2 != place // 2]
        expected = max(others, key=lambda other: float(centred[place] @ centred[other]))
        assert warm["frame"][BATCH + place] == expected


def test_where_all_others_are_too_alike_the_draw_stays() -> None:
    hard = {"share": 1, "skip_above": 0.9, "warmup_steps": 0}
    system = aligned(negatives="hard", pairs="both", group=4, hard=hard)
    inputs, targets = batch_of(system, range(4))
    one = torch.ones(WIDTH, dtype=torch.float64)
    inputs["frames"] = torch.stack([one, -3 * one, one, one])  # the first is like both of the other video
    assert isinstance(system.task, MultiModalAlignment)
    _, found = system.task._choose({"visual": system.model.embed(inputs)["visual"]}, targets)
    first, second, third, last = found["frame"][4:].tolist()
    assert found["counted"].all()
    assert first == targets["partner"][0]
    assert second in (2, 3)
    assert third == last == 1  # which is the only one that is unlike them


def test_a_sound_without_a_partner_in_its_group_finds_one_among_all() -> None:
    system = aligned(negatives="ranks", group=2)  # whose two are of one video
    targets, found = chosen(system)
    assert not targets["counted"].any()
    assert found["counted"].all()
    assert found["known"][0] == 0
    assert 0 < (found["match"] == 0).sum() < BATCH


def test_validation_shows_any_of_the_group_whatever_training_shows() -> None:
    for rule in ("ranks", "hard"):
        _, ours = batch_of(aligned(negatives=rule), range(BATCH), "validation")
        _, plain = batch_of(aligned(), range(BATCH), "validation")
        assert ours.keys() == plain.keys()
        assert all(torch.equal(ours[name], plain[name]) for name in plain)


RULES = ({"negatives": "ranks"}, {"negatives": "hard", "hard": {"among": "ranks", "warmup_steps": 0}})


def loss_and_gradient(system: System, positions: range) -> Tensor:
    inputs, targets = batch_of(system, positions)
    loss, sums = system(inputs, targets)
    loss.backward()
    gradients = [one.grad.flatten() for one in system.parameters() if one.grad is not None]
    return torch.cat([loss.detach()[None], sums / len(positions), *gradients])


def one_of_several(rank: int, folder: str) -> None:
    sys.stdout = sys.stderr
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD)
    found = []
    for rule in RULES:
        own = loss_and_gradient(aligned(**rule), range(rank * BATCH, (rank + 1) * BATCH))
        dist.all_reduce(own)
        found.append(own / WORLD)
    if rank == 0:
        torch.save(found, f"{folder}/found.pt")
    dist.destroy_process_group()


def test_negatives_of_all_processes_are_the_same_on_any_number_of_them(tmp_path: Path) -> None:
    """Losses, sums and gradients; the frames of another process learn from what was found here."""
    multiprocessing.spawn(one_of_several, (str(tmp_path),), WORLD)
    for rule, found in zip(RULES, torch.load(tmp_path / "found.pt"), strict=True):
        whole = loss_and_gradient(aligned(**rule), range(WORLD * BATCH))
        torch.testing.assert_close(found, whole)


@pytest.mark.parametrize("rule", RULES)
def test_negatives_of_all_processes_need_the_whole_batch_at_once(rule: dict[str, Any]) -> None:
    assert MmaSettings.model_validate(rule).whole_batch
    assert not MmaSettings(negatives="hard").whole_batch


def test_what_needs_no_labels_is_not_called_label_aided() -> None:
    assert [MmaSettings(negatives=rule).label_aided is None for rule in ("any", "ranks", "hard")] == [True] * 3
    assert MmaSettings(negatives="unlike").label_aided is not None
    with pytest.raises(ValidationError):
        HardNegativesSettings(share=0)
