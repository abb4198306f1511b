"""Teachers that follow, and parameters that are frozen, at every ZeRO stage, precision and place of the states."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import taught_system
from pipeline.errors import SettingsError
from pipeline.tasks.task import System
from pipeline.train.engine.teachers import begin_teachers, check_teachers
from pipeline.train.settings import TrainSettings

TESTS = Path(__file__).parents[3]


@pytest.mark.parametrize(("stage", "precision"), taught_system.WAYS)
def test_a_teacher_follows_as_in_plain_torch_and_what_is_frozen_stays(group, stage, precision):
    taught_system.check_follows(group, stage, precision)


@pytest.mark.parametrize(("stage", "precision"), [(1, "bf16"), (2, "fp32"), (3, "bf16"), (3, "fp32")])
def test_it_does_where_the_optimiser_lies_in_host_memory(group, stage, precision):
    taught_system.check_follows(group, stage, precision, offload="cpu")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_does_where_zero_3_leaves_small_parameters_whole(group, precision):
    taught_system.check_follows(group, 3, precision, width=1500)


@pytest.mark.parametrize(("stage", "precision"), taught_system.WAYS)
def test_it_does_where_a_part_of_its_student_is_frozen(group, stage, precision):
    taught_system.check_follows(group, stage, precision, frozen=("stem", "trunk.0"))


@pytest.fixture(scope="module")
def saved_by_one(group, tmp_path_factory):
    folder = tmp_path_factory.mktemp("taught")
    taught_system.save(folder, group)
    return folder


def test_a_run_with_a_teacher_goes_on_to_the_bit_at_another_stage_and_precision_too(group, saved_by_one):
    taught_system.go_on(saved_by_one, group, alike=True)


def test_two_processes_do_the_same_and_go_on_where_one_stopped_and_one_where_two_did(group, saved_by_one, tmp_path):
    words = [sys.executable, str(TESTS / "taught_system.py"), str(tmp_path), str(saved_by_one)]
    code = f"from cluster.launch import launch_local; raise SystemExit(launch_local({words!r}, 2))"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    taught_system.go_on(tmp_path, group, alike=False)


def test_weights_in_files_have_no_teacher(tmp_path):
    settings = TrainSettings(zero_stage=3, offload="nvme", offload_folder=str(tmp_path))
    with pytest.raises(SettingsError, match=r"train.offload: expected none or cpu, as a teacher .* found nvme"):
        check_teachers(taught_system.make(), settings)


def test_only_a_teacher_of_the_task_follows_and_only_its_student(group):
    engine = taught_system.build(group, 1, "bf16")
    teacher, student = engine.module.task.teacher, engine.module.model.trunk
    for pair in ((student, teacher), (engine.module.task.head, student), (teacher, engine.module.model.stem)):
        with pytest.raises(ValueError, match="only a teacher that the task names as one can follow"):
            engine.follow(*pair, 0.5)
    with pytest.raises(ValueError, match=r"at a rate from 0 to 1, not 1.5"):
        engine.follow(teacher, student, 1.5)


def test_a_teacher_must_be_like_its_student_and_not_the_student_itself(group):
    other = System(taught_system.Model(13), taught_system.Imitate(14), ("numbers",))
    with pytest.raises(ValueError, match="a teacher must have its student's parameters"):
        begin_teachers(other.teachers())
    with pytest.raises(ValueError, match="a teacher must have parameters of its own"):
        begin_teachers([(other.model.trunk, other.model.trunk)])


def test_a_teacher_computes_as_in_evaluation_while_the_rest_trains(group):
    engine = taught_system.build(group, 0, "fp32")
    assert engine.module.model.trunk.training
    assert not engine.module.task.teacher.training
