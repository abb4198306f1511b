"""Dense contrastive learning: tokens of frames and sounds compared before they meet."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import SettingsError
from pipeline.evaluate.readouts.similarity import SimilarityReadout
from pipeline.models.build import build_on
from pipeline.models.contract import Inputs, TokenGrid, Tokens
from pipeline.samples.metadata import SampleMetadata
from pipeline.tasks.dense_contrastive import DenseContrastive
from pipeline.tasks.dense_contrastive_settings import DenseContrastiveSettings
from pipeline.tasks.pairing import same_scene, scene_numbers
from pipeline.tasks.task import System
from stub_system import StubModel

WORLD, WIDTH = 2, 4


def sample(video: str, source: str = "", group: str | None = None) -> SampleMetadata:
    return SampleMetadata(
        video=video, source=source or f"{video}.mp4", frame_times_s=[0], audio_start_s=0, audio_rate_hz=1,
        audio_samples=1, group=group,
    )  # fmt: skip


OTHERS = [sample(f"v{number}") for number in range(16)]


class Given(StubModel):
    """A model whose tokens are its inputs: frames [B, N, D] and, of each sound [B, T, D], T audio tokens."""

    def __init__(self, audio_width: int = WIDTH) -> None:
        super().__init__()
        self._audio_width = audio_width

    @property
    def grids(self) -> Mapping[str, TokenGrid]:
        return {
            "visual": TokenGrid((("time", 1), ("row", 2), ("column", 3))),
            "audio": TokenGrid((("frequency", 1), ("time", 2))),
        }

    @property
    def widths(self) -> Mapping[str, int]:
        return {"visual": WIDTH, "audio": self._audio_width}

    def embed(self, inputs: Inputs) -> Tokens:
        return super().embed(inputs)


def inputs(count: int, seed: int = 0) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    return {
        "frames": torch.randn(count, 6, WIDTH, generator=generator),
        "sound": torch.randn(count, 2, WIDTH, generator=generator),
    }


def built(model: Given | None = None, **settings: object) -> System:
    own = DenseContrastiveSettings.model_validate({"group": 4} | settings)
    given = model or Given()
    return System(given, build_on("cpu", 0, lambda: DenseContrastive(own, given)), ("frames", "sound"))


def step(system: System, given: Inputs, samples: list[SampleMetadata], start: int = 0) -> tuple[Tensor, Tensor]:
    positions = range(start, start + len(samples))
    return system(given, system.task.targets(0, positions, samples, "train"))


def scores(system: System, given: Inputs) -> Tensor:
    """[frames, sounds], pooled."""
    task = system.task
    seen, heard = F.normalize(given["frames"], dim=2), F.normalize(given["sound"], dim=2)
    similar = torch.einsum("ind,jtd->ijtn", seen, heard)
    gamma = task.settings.gamma
    return ((similar * gamma).exp().mean(3).log() / gamma).mean(2)


def balanced(system: System, among: Tensor, own: Tensor) -> Tensor:
    logits = 10 * (among - 0.4)
    return (F.softplus(-logits[own]).mean() + F.softplus(logits[~own]).mean()) / 2


def test_the_sigmoid_form_tells_each_pair_by_itself():
    system, given = built(), inputs(4)
    loss, _ = step(system, given, OTHERS[:4])
    found, own = scores(system, given), torch.eye(4, dtype=torch.bool)
    logits = 10 * (found - 0.4)
    expected = (F.softplus(-logits[own]).sum() + F.softplus(logits[~own]).sum()) / 4
    torch.testing.assert_close(loss, expected + balanced(system, found, own))


def test_infonce_asks_for_the_sound_of_a_frame_and_the_frame_of_a_sound():
    system, given = built(form="infonce"), inputs(4)
    loss, _ = step(system, given, OTHERS[:4])
    found, index = scores(system, given), torch.arange(4)
    both = F.cross_entropy(10 * found, index) + F.cross_entropy(10 * found.T, index)
    torch.testing.assert_close(loss, both / 2 + balanced(system, found, torch.eye(4, dtype=torch.bool)))


@pytest.mark.parametrize("form", ["sigmoid", "infonce"])
@pytest.mark.parametrize("alike", [{"source": "a.mp4"}, {"group": "g"}])
def test_samples_of_one_scene_are_no_negatives(form, alike):
    given = inputs(8)
    samples = [*OTHERS[:6], sample("x", **alike), sample("y", **alike)]
    loss, sums = step(built(form=form), given, samples)
    moved = {name: values.clone() for name, values in given.items()}
    other, _ = step(built(form=form), given, OTHERS[:8])
    assert not torch.equal(loss, other)
    # what is of one scene with it may become its twin, and only its own pairs notice
    system = built(form=form)
    moved["sound"][7] = given["sound"][6]
    _, after = step(system, moved, samples)
    names = DenseContrastiveSettings().sums
    assert dict(zip(names, sums.tolist(), strict=True))["others"] == 8 * 3 - 2
    assert dict(zip(names, after.tolist(), strict=True))["others"] == 8 * 3 - 2


def test_scene_numbers_agree_where_samples_are_of_one_scene_and_only_there():
    masked = "https://host/get?token=***"
    samples = [
        *OTHERS[:3], sample("v0", "other.mp4"), sample("w", "v1.mp4"), sample("p", group="g"), sample("q", group="g"),
        sample("r", masked), sample("s", masked),
    ]  # fmt: skip
    for one in samples:
        for other in samples:
            pairs = zip(scene_numbers(one), scene_numbers(other), strict=True)
            assert any(a == b != 0 for a, b in pairs) == same_scene(one, other)


def test_pairs_that_are_near_by_the_models_own_embedding_are_left_out_without_looking_at_labels():
    given = inputs(8)
    given["sound"][5] = given["sound"][4] * 2  # the same sound, louder
    names = DenseContrastiveSettings().sums
    _, sums = step(built(near=0.99), given, OTHERS[:8])
    assert dict(zip(names, sums.tolist(), strict=True))["others"] == 8 * 3 - 2


def test_all_that_begins_alike_is_not_near():
    given = inputs(8)
    given = {name: values * 0.01 + 1 for name, values in given.items()}
    _, sums = step(built(near=0.95), given, OTHERS[:8])
    assert dict(zip(DenseContrastiveSettings().sums, sums.tolist(), strict=True))["others"] > 8 * 3 * 0.7


def test_a_mixture_belongs_to_the_frames_of_both_its_sounds():
    system, given = built(mixtures=1.0), inputs(4)
    targets = system.task.targets(0, range(4), OTHERS[:4], "train")
    partner = targets["partner"]
    assert (partner != torch.arange(4)).all()
    mixed = {"frames": given["frames"], "sound": given["sound"] + given["sound"][partner]}
    logits = 10 * (scores(system, mixed) - 0.4)
    own = torch.eye(4, dtype=torch.bool)
    own[partner, torch.arange(4)] = True
    expected = (F.softplus(-logits[own]).sum() + F.softplus(logits[~own]).sum()) / 4
    without, _ = step(built(), given, OTHERS[:4])
    torch.testing.assert_close(system(given, targets)[0] - without, expected)


def test_a_sound_is_mixed_with_one_of_its_own_group_and_of_another_scene_wherever_it_is_cut():
    system = built(mixtures=1.0)
    samples = [*OTHERS[:6], sample("x", group="g"), sample("y", group="g"), *OTHERS[8:12], *([sample("z")] * 4)]
    whole = system.task.targets(3, range(16), samples, "train")["partner"]
    pieces = [
        system.task.targets(3, range(start, start + 4), samples[start : start + 4], "train")["partner"]
        for start in (0, 4, 8, 12)
    ]
    assert torch.equal(whole, torch.cat(pieces))
    assert 7 - 4 not in whole[6:7].tolist()
    assert whole[12:].tolist() == [0, 1, 2, 3]  # there is no other scene: its own


def test_validation_looks_within_groups_also_where_the_last_is_cut_short():
    system, given = built(mixtures=0.5, form="infonce"), inputs(10)
    system.eval()
    names = system.task.settings.sums
    whole = dict(zip(names, step(system, given, OTHERS[:10])[1].tolist(), strict=True))
    parts = [
        dict(zip(names, step(system, {n: v[a:b] for n, v in given.items()}, OTHERS[a:b], a)[1].tolist(), strict=True))
        for a, b in ((0, 4), (4, 8), (8, 10))
    ]
    assert whole["samples"] == 10
    assert whole["others"] == 4 * 3 * 2 + 2
    for name in ("sound_found", "frame_found", "matches_told", "others_told", "others"):
        assert whole[name] == sum(part[name] for part in parts)
    assert whole["loss"] == pytest.approx(sum(part["loss"] for part in parts), rel=1e-5)


def test_figures_count_what_was_found_within_groups():
    given = inputs(8)
    direction = torch.eye(4).repeat(2, 1)
    given = {"frames": -torch.ones(8, 6, WIDTH), "sound": direction[:, None].expand(-1, 2, -1)}
    given["frames"][:, 2] = direction * 5  # one place is like the sound
    system = built()
    _, sums = step(system, given, OTHERS[:8])
    figures = system.task.settings.figures(dict(zip(system.task.settings.sums, sums.tolist(), strict=True)))
    assert figures["sound_found"] == 1
    assert figures["frame_found"] == 1
    alike = system.task.similarity(given | {"visual": given["frames"], "audio": given["sound"]})
    assert alike.argmax(1).tolist() == [2] * 8
    maps = SimilarityReadout()(system, given)
    assert maps.shape == (8, 2, 3)
    assert maps.flatten(1).argmax(1).tolist() == [2] * 8


def test_the_answer_learns_what_matches_and_moves_nothing_else():
    given = inputs(8)
    given["sound"] = given["frames"][:, :2].clone()
    frames = nn.Parameter(given["frames"])
    system = built(near=None)
    loss, _ = step(system, {"frames": frames, "sound": given["sound"]}, OTHERS[:8])
    with_answer = torch.autograd.grad(loss, frames, retain_graph=True)[0]
    moved = torch.autograd.grad(loss, list(system.task.answer.parameters()))
    assert all(gradient.abs().sum() > 0 for gradient in moved)
    contrast = loss - balanced(system, scores(system, given), torch.eye(8, dtype=torch.bool))
    assert torch.equal(torch.autograd.grad(contrast, frames, allow_unused=True)[0], with_answer)
    embedded = {"visual": given["frames"], "audio": given["sound"]}
    torch.testing.assert_close(system.task.match(system.model, embedded), 10 * (scores(system, given).diag() - 0.4))


def test_tokens_of_different_widths_need_a_projection():
    with pytest.raises(SettingsError, match=r"task.projection: expected a width .* 4 and 6"):
        built(Given(audio_width=6))
    assert built(Given(audio_width=6), projection=8).task.project is not None
    with pytest.raises(SettingsError, match="task.heads: expected a number that divides the width 4, found 3"):
        built(heads=3)


def weighed(rank: int | None, form: str, near: float | None) -> Tensor:
    """Loss and gradient of a weight, of all samples or of one process's share."""
    share = slice(None) if rank is None else slice(rank * 8 // WORLD, (rank + 1) * 8 // WORLD)
    given = {name: values.double() for name, values in inputs(8).items()}
    weight = torch.eye(WIDTH, dtype=torch.float64).requires_grad_()
    system = built(form=form, near=near, mixtures=0.5, regularisers={"total_variation": 0.1}).double()
    start = share.start or 0
    own = {name: values[share] for name, values in given.items()}
    loss, _ = step(system, own | {"frames": own["frames"] @ weight}, OTHERS[:8][share], start)
    loss.backward()
    return torch.cat([loss.detach()[None], weight.grad.flatten(), system.task.contrast.log_scale.grad])


CASES = [("sigmoid", None), ("infonce", None), ("infonce", 0.6)]


def one_of_several(rank: int, folder: str) -> None:
    sys.stdout = sys.stderr
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD)
    for number, case in enumerate(CASES):
        found = weighed(rank, *case)
        dist.all_reduce(found)
        if rank == 0:
            torch.save(found / WORLD, f"{folder}/{number}.pt")
    dist.destroy_process_group()


def test_all_processes_together_descend_what_one_would_of_all_samples(tmp_path: Path) -> None:
    multiprocessing.spawn(one_of_several, (str(tmp_path),), WORLD)
    for number, case in enumerate(CASES):
        torch.testing.assert_close(torch.load(tmp_path / f"{number}.pt"), weighed(None, *case), rtol=1e-5, atol=1e-6)
