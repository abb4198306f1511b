"""A system from outside is trained as the project's own: at every ZeRO stage, on any number of processes, to the bit
after any death, with its teacher."""

import pytest
import torch

from toy_system.command import curves, records, weights

STEPS = 6
PACE = 0.1
WAYS = [(stage, processes) for stage in range(4) for processes in (1, 2)]


def assert_same(run, other):
    assert curves(run) == curves(other)
    ours, theirs = weights(run, STEPS), weights(other, STEPS)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def assert_alike(run, other):
    """The same samples, targets and losses, but for the order in which numbers are added."""
    for ours, theirs in zip(curves(run), curves(other), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
        assert ours["told"] == theirs["told"]


def assert_teacher_follows(run):
    """In each step by a tenth of what it lacked; it began as the model was."""
    for step in range(2, STEPS + 1):
        before, now = weights(run, step - 1), weights(run, step)
        names = [name for name in now if name.startswith("task.teacher.")]
        assert names
        for name in names:
            student = now[name.replace("task.teacher.", "model.")]
            assert torch.allclose(now[name], before[name].lerp(student, PACE), rtol=1e-5, atol=1e-7)
            assert not torch.equal(now[name], student)


def test_it_trains_and_the_figures_of_its_objective_stand_by_their_names_in_the_records(run):
    first, *_, last = records(run)
    assert len(records(run)) == STEPS
    assert all(0 <= record["told"] <= 1 and record["distance"] > 0 for record in (first, last))
    assert {"validation/loss", "validation/told", "validation/distance"} <= last.keys()
    assert "accuracy" not in last
    assert last["loss"] < first["loss"]


def test_its_teacher_follows_the_model_after_each_step(run):
    assert_teacher_follows(run)


def test_killed_with_sigkill_and_started_again_it_ends_as_if_nothing_had_been(gavt, run, tmp_path):
    gavt.kill(tmp_path / "killed", 3)
    assert_same(gavt.train(tmp_path / "killed"), run)


def test_two_processes_at_zero_3_give_the_losses_of_one(gavt, run, tmp_path):
    assert_alike(gavt.train(tmp_path / "run", "--nproc", 2, "train.zero_stage=3", "data.workers=1"), run)


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "processes"), WAYS)
def test_each_stage_and_number_of_processes_does_the_same_and_survives_a_kill(gavt, run, tmp_path, stage, processes):
    words = ("--nproc", processes, f"train.zero_stage={stage}")
    undisturbed = gavt.train(tmp_path / "undisturbed", *words)
    assert_alike(undisturbed, run)
    assert_teacher_follows(undisturbed)
    gavt.kill(tmp_path / "killed", 3, *words)
    assert_same(gavt.train(tmp_path / "killed", *words), undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_it_goes_on_at_another_stage_on_another_number_of_processes(gavt, run, tmp_path, precision):
    words = (f"train.precision={precision}",)
    gavt.kill(tmp_path / "run", 3, "--nproc", 2, "train.zero_stage=3", *words)
    gavt.train(tmp_path / "run", "train.zero_stage=1", *words)
    if precision == "fp32":
        assert_alike(tmp_path / "run", run)
    assert records(tmp_path / "run")[-1]["step"] == STEPS
