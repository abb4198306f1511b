"""Self-distillation: what views show, what student and teacher say of them, and what is remembered of it."""

import math

import pytest
import torch
import torch.nn.functional as F

from objectives import GAVT, OBJECTIVES
from pipeline.models.contract import TokenGrid
from pipeline.tasks.self_distillation import Prototypes, RecentAnswers
from pipeline.tasks.self_distillation_settings import SelfDistillationSettings
from pipeline.tasks.views import DRAWS, block_size, block_view, crop_view
from pipeline.train.load import untrained
from pipeline.train.run_settings import RunSettings
from pipeline.train.system import example_batch
from tiny_shards import FEATURES

FRAMES = TokenGrid((("time", 2), ("row", 4), ("column", 8)))
SOUND = TokenGrid((("frequency", 4), ("time", 8)))
WHOLE = {"frame_area": (1.0, 1.0), "sound_length": (1.0, 1.0), "flip": False, "jitter": 0.0}


def drawn(count=1, **values):
    """Draws of some views, 0.5 where nothing else is said."""
    draws = torch.full((count, len(DRAWS)), 0.5)
    for name, value in values.items():
        draws[:, DRAWS.index(name)] = torch.as_tensor(value)
    return draws


def system_of(**task):
    task = OBJECTIVES["self_distillation"].task | task
    settings = RunSettings.model_validate({"features": FEATURES, "model": GAVT, "task": task})
    system = untrained(settings, "cpu", 0).train()
    with torch.no_grad():  # a teacher that says something else, and prototypes that lie apart
        for parameter in [*system.task.teacher.parameters(), *system.task.head.parameters()]:
            parameter += 0.1 * torch.randn_like(parameter)
    return system, *example_batch(system, settings, 4, "cpu")


@pytest.fixture
def images():
    return {"visual": torch.randn(3, 2, 3, 16, 16), "audio": torch.randn(3, 1, 1, 8, 16)}


def test_a_view_of_the_whole_is_the_whole(images):
    view = crop_view(images, drawn(3), SelfDistillationSettings.model_validate(WHOLE))
    for name, image in images.items():
        torch.testing.assert_close(view[name], image, atol=1e-5, rtol=0)


def test_a_crop_is_the_drawn_part_in_the_size_of_the_whole_mirrored_or_not(images):
    settings = SelfDistillationSettings.model_validate(
        WHOLE | {"frame_area": (0.25, 0.25), "sound_length": (0.5, 0.5), "flip": True}
    )
    view = crop_view(images, drawn(3, x=1.0, y=0.0, flip=[0.9, 0.1, 0.9], start=1.0), settings)
    corner = images["visual"][..., :8, 8:]
    large = F.interpolate(corner.flatten(0, 1), (16, 16), mode="bilinear").view(3, 2, 3, 16, 16)
    inner = (..., slice(2, -2), slice(2, -2))  # at the edge of a crop lies what is beyond it
    torch.testing.assert_close(view["visual"][[0, 2]][inner], large[[0, 2]][inner])
    torch.testing.assert_close(view["visual"][1][inner], large[1].flip(-1)[inner])
    later = F.interpolate(images["audio"][:, 0, :, :, 8:], (8, 16), mode="bilinear")
    torch.testing.assert_close(view["audio"][:, 0, :, :, 2:-2], later[..., 2:-2], atol=1e-5, rtol=1e-5)


def test_jitter_changes_brightness_and_contrast_and_nothing_of_the_sound(images):
    settings = SelfDistillationSettings.model_validate(WHOLE | {"jitter": 0.4})
    view = crop_view(images, drawn(3, brightness=1.0, contrast=0.0), settings)
    torch.testing.assert_close(view["visual"], images["visual"] * 0.6 + 0.4, atol=1e-5, rtol=0)
    torch.testing.assert_close(view["audio"], images["audio"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "grid", "size"), [("visual", FRAMES, (2, 4)), ("audio", SOUND, (4, 2))])
def test_a_block_has_neighbouring_tokens_of_all_frames_or_of_all_frequencies(name, grid, size):
    assert block_size(name, grid, 0.25) == size
    ends = torch.tensor([0.0, 0.3, 1.0])
    block = block_view(name, grid, drawn(3, row=ends, column=ends, moment=ends), 0.25)
    assert block.shape == (3, math.prod(size) * grid.count // math.prod(grid.shape[-2:]))
    inside = torch.zeros(3, grid.count).scatter_(1, block, 1.0).view(3, -1, *grid.shape[-2:])
    assert torch.equal(inside, inside[:, :1].expand_as(inside))
    rows, columns = inside[:, 0].amax(2), inside[:, 0].amax(1)
    assert torch.equal(inside[:, 0], rows[:, :, None] * columns[:, None])
    assert rows.sum(1).tolist() == [size[0]] * 3
    assert columns.sum(1).tolist() == [size[1]] * 3
    assert columns[0, 0] == columns[2, -1] == 1
    assert all(places.diff().abs().sum() <= 2 for places in (*rows, *columns))


def test_the_student_sees_of_a_small_view_its_block_of_one_stream_alone():
    system, inputs, targets = system_of(**WHOLE)
    task, model = system.eval().task, system.model
    images = model.images(inputs)
    draws = targets["draws"][:, 2:3].clone()
    draws[..., DRAWS.index("aspect")] = 0.5  # of the whole frame, so that cells of the view are cells of the frame
    for name in ("visual", "audio"):
        grid = task.grids[name]
        block = block_view(name, grid, draws[:, 0], task.settings.local_share)
        inside = torch.zeros(4, grid.count).scatter_(1, block, 1.0)
        cell = torch.ones(1, 1, 1, *(s // g for s, g in zip(images[name].shape[-2:], grid.shape[-2:], strict=True)))
        mask = torch.kron(inside.view(4, 1, 1, *grid.shape[-2:]), cell)
        noise = torch.randn_like(images[name])
        with torch.no_grad():
            before = task._of_blocks(model, images, draws, (name,))
            around = task._of_blocks(model, images | {name: images[name] + noise * (1 - mask)}, draws, (name,))
            within = task._of_blocks(model, images | {name: images[name] + noise * mask}, draws, (name,))
            without = task._of_blocks(model, {name: images[name]}, draws, (name,))
        assert torch.equal(without, before)
        assert (around - before).abs().max() < 0.05 * (within - before).abs().max()  # where crops are rounded


@pytest.mark.parametrize(("streams", "views"), [("one", 4), ("both", 3), ("both", 0)])
def test_the_loss_is_the_cross_entropy_of_each_pair_of_different_views(streams, views):
    system, inputs, targets = system_of(local_streams=streams, local_views=views)
    task, model = system.task, system.model
    task.begin_step(0)
    task.answers.centre.normal_()
    loss, sums = system(inputs, targets)
    images, draws = model.images(inputs), targets["draws"]
    student, teacher = [], []
    with torch.no_grad():
        for view in range(2):
            crop = crop_view(images, draws[:, view], task.settings)
            tokens = [one.fuse(one.embed_images(crop)).tokens["class"][:, 0] for one in (model, task.teacher)]
            student.append(task.head(tokens[0]))
            teacher.append(((task.teacher_head(tokens[1]) - task.answers.centre) / 0.04).softmax(1))
        for view in range(2, 2 + views):
            seen = ("visual", "audio") if streams == "both" else ("visual",) if view < 2 + views / 2 else ("audio",)
            student.append(task._of_blocks(model, images, draws[:, view : view + 1], seen))
    pairs = [(one, other) for one in range(2) for other in range(2 + views) if one != other]
    each = [-(teacher[one] * (student[other] / 0.1).log_softmax(1)).sum(1).mean() for one, other in pairs]
    assert loss.item() == pytest.approx(torch.stack(each).mean().item(), rel=1e-5)
    figures = task.settings.figures(dict(zip(task.settings.sums, sums.tolist(), strict=True)))
    both = torch.cat(teacher)
    assert figures["entropy"] == pytest.approx(-(both * both.clamp(min=1e-30).log()).sum(1).mean().item(), rel=1e-4)
    assert figures["kl_to_uniform"] == pytest.approx(math.log(32) - figures["entropy"])
    assert figures["constant_loss"] == pytest.approx(math.log(32))  # nothing has been said yet
    loss.backward()
    assert all(parameter.grad is None for parameter in task.teacher.parameters() if not parameter.requires_grad)


def test_what_was_said_is_remembered_where_a_step_has_ended_and_in_no_evaluation():
    system, inputs, targets = system_of()
    answers = system.task.answers
    follow = lambda teacher, student, rate: None  # noqa: E731
    system.task.begin_step(0)
    system(inputs, targets)
    system.task.begin_step(1)  # the first was left out
    system(inputs, targets)
    system(inputs, targets)  # a second micro-batch
    expected = answers.sums / 16
    assert not answers.centre.any()
    system.task.after_step(system.model, 1, follow)
    torch.testing.assert_close(answers.centre, 0.1 * expected[0])
    torch.testing.assert_close(answers.shares, 0.9 / 32 + 0.1 * expected[1])
    assert answers.shares.sum().item() == pytest.approx(1, rel=1e-5)
    system.task.begin_step(2)
    system.eval()(inputs, targets)
    system.task.after_step(system.model, 2, follow)
    torch.testing.assert_close(answers.centre, 0.1 * expected[0])
    kept = set(RecentAnswers(4).state_dict())
    assert kept == {"centre", "shares"}
    assert answers.bfloat16().centre.dtype == torch.float32


def test_the_teacher_follows_by_its_schedule_and_temperatures_rise():
    settings = SelfDistillationSettings(
        momentum=0.9, momentum_steps=10, teacher_temperature=0.07, warm_up_steps=3, teacher_temperature_start=0.04
    )
    assert [round(settings.momentum_at(step), 3) for step in (0, 5, 10, 20)] == [0.9, 0.95, 1.0, 1.0]
    found = [settings.teacher_temperature_at(step) for step in (0, 1, 3, 9)]
    assert found == pytest.approx([0.04, 0.05, 0.07, 0.07])
    system, _, _ = system_of(momentum=0.9)
    followed = []
    system.task.after_step(system.model, 3, lambda *pair: followed.append(pair))
    ((teacher, student, rate), (head, own, _)) = followed
    assert (teacher, student) == (system.task.teacher, system.model)
    assert (head, own) == (system.task.teacher_head, system.task.head)
    assert rate == pytest.approx(0.1)


def test_prototypes_have_length_one_and_stay_frozen_for_the_first_steps():
    system, inputs, targets = system_of(frozen_steps=1)
    weights = system.task.head.prototypes.weight
    assert isinstance(system.task.head.prototypes, Prototypes)
    unit = system.task.head.prototypes(F.normalize(torch.randn(5, 8), dim=1))
    assert unit.abs().max() <= 1
    for step, learnt in ((0, False), (1, True)):
        system.zero_grad()
        system.task.begin_step(step)
        system(inputs, targets)[0].backward()
        assert (weights.grad is not None and bool(weights.grad.any())) == learnt
        assert system.task.head.layers[0].weight.grad.any()
