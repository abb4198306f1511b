"""Saving, finding and restoring checkpoints of a small model, in this process."""

import errno
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
import toy_engine
from safetensors.torch import load_file
from torch import nn

from cluster.errors import StorageError
from cluster.process_group import ProcessGroup
from pipeline.errors import CheckpointError
from pipeline.train.checkpoints import MANIFEST, find_checkpoint, host_copy, newest_checkpoint, retention, saver
from pipeline.train.checkpoints.engine_files import read_state, write_state
from pipeline.train.checkpoints.find import problems
from pipeline.train.checkpoints.fragments import Fragment, fragments, masters
from pipeline.train.checkpoints.host_copy import HostCopy
from pipeline.train.checkpoints.layout import manifest_text, parse_manifest
from pipeline.train.checkpoints.restore import changes, counters, load_engine
from pipeline.train.checkpoints.retention import kept
from pipeline.train.checkpoints.saved_state import describe
from pipeline.train.checkpoints.saver import Saver
from pipeline.train.checkpoints.weights_file import write_weights
from pipeline.train.engine import build_engine
from ranks_of_small import compare
from small_engine import BATCH, WAYS, Small, assert_equal, build, settings_of, train

TESTS = Path(__file__).parents[2]


def held(engine, averages=None):
    """Copies of all that an engine holds, by name and kind."""
    found = fragments(engine, averages)
    return {(one.name, kind): piece.clone() for one in found for kind, piece in one.kinds.items()}


def saver_of(folder, group, publish=lambda: None, **train):
    return Saver(folder / "checkpoints", group, settings_of(**train), publish)


@pytest.fixture(scope="module")
def engine(group):
    return build(group, steps=2)


@pytest.fixture(scope="module")
def checkpoints(group, tmp_path_factory):
    """A run of each way of computing: its folder, what its engine held, and its averages."""
    found = {}
    for stage, precision in WAYS:
        run = tmp_path_factory.mktemp("runs") / "run"
        engine = build(group, stage, precision, seed=stage, steps=3)
        averages = [torch.randn(master.shape) for master in masters(engine)]
        saving = saver_of(run, group, stage=stage, precision=precision)
        saving.save(engine, 3, {}, averages)
        saving.finish()
        found[stage, precision] = (run, held(engine, averages), counters(engine))
    return found


@pytest.mark.parametrize(("stage", "precision"), WAYS)
def test_an_engine_goes_on_from_every_zero_stage_and_precision_to_the_bit(group, checkpoints, stage, precision):
    engine = build(group, stage, precision, seed=9)
    averages = [torch.zeros(master.shape) for master in masters(engine)]
    for run, theirs, counted in checkpoints.values():
        load_engine(find_checkpoint(str(run)), engine, averages)
        assert_equal(held(engine, averages), theirs)
        assert counters(engine) == counted
        model = {name: parameter for name, parameter in engine.module.named_parameters() if stage < 3}
        for name, parameter in model.items():  # what the model computes with is the masters
            assert torch.equal(parameter.view(-1), theirs[name, "fp32"].to(parameter.dtype))
    train(engine, 1)


@pytest.mark.parametrize(("stage", "precision"), WAYS)
def test_the_weights_of_a_checkpoint_are_readable_without_deepspeed(checkpoints, stage, precision):
    run, theirs, _ = checkpoints[stage, precision]
    folder = run / "checkpoints/step-0000000003"
    weights, average = load_file(folder / "model.safetensors"), load_file(folder / "ema.safetensors")
    assert weights.keys() == average.keys() == Small(0).state_dict().keys()
    for name, value in weights.items():
        assert torch.equal(value.view(-1).float(), theirs[name, "fp32"].float())
        kind = "ema" if (name, "ema") in theirs else "fp32"
        assert torch.equal(average[name].view(-1).float(), theirs[name, kind].float())
    Small(1).load_state_dict(weights)


def test_training_goes_on_while_a_checkpoint_is_written_and_what_is_saved_is_the_moment_of_saving(
    group, tmp_path, monkeypatch
):
    engine, written, write = build(group, steps=2), threading.Event(), saver.write_state
    monkeypatch.setattr(saver, "write_state", lambda *words: written.wait(60) and write(*words))
    then, saving = held(engine), saver_of(tmp_path, group)
    saving.save(engine, 2, {"note": 1})
    assert newest_checkpoint(tmp_path / "checkpoints") is None
    train(engine, 2)
    assert not list(saving.whole())
    written.set()
    saving.finish()
    (saved,) = saving.whole()
    assert (saved.step, saved.bytes) == (2, find_checkpoint(str(tmp_path)).bytes)
    again = build(group, seed=5)
    load_engine(find_checkpoint(str(tmp_path)), again)
    assert_equal(held(again), then)


def test_an_optimiser_that_would_step_too_early_waits_until_its_states_are_copied(group, tmp_path, monkeypatch):
    take = HostCopy.take
    monkeypatch.setattr(HostCopy, "take", lambda self: time.sleep(0.3) or take(self))
    monkeypatch.setattr(host_copy, "_AT_ONCE", 0)  # the model is small
    for stage, precision in ((0, "bf16"), (1, "fp32"), (3, "fp32")):
        run = tmp_path / f"{stage}-{precision}"
        engine, saving = build(group, stage, precision, steps=2), saver_of(run, group)
        then = held(engine)
        saving.save(engine, 2, {})
        before = saving.stalled_s
        assert before < 0.2
        train(engine, 1)
        assert saving.stalled_s > before + 0.1
        saving.finish()
        again = build(group, stage, precision, seed=5)
        load_engine(find_checkpoint(str(run)), again)
        assert_equal(held(again), then)
        assert not torch.equal(held(engine)["last.weight", "fp32"], then["last.weight", "fp32"])


def test_the_next_save_waits_for_the_last_and_one_in_the_foreground_for_itself(engine, group, tmp_path, monkeypatch):
    order, write = [], saver.write_state

    def slowly(state, file, folder):
        time.sleep(0.1)
        order.append(folder.name)
        return write(state, file, folder)

    monkeypatch.setattr(saver, "write_state", slowly)
    saving = saver_of(tmp_path, group)
    saving.save(engine, 2, {})
    saving.save(engine, 4, {})
    assert [found.step for found in saving.whole()] == [2]
    saving.finish()
    assert order == sorted(order)
    blocking = saver_of(tmp_path / "blocking", group, background_saving=False)
    blocking.save(engine, 2, {})
    assert find_checkpoint(str(tmp_path / "blocking")).step == 2
    assert blocking.stalled_s > 0.1


def test_a_full_disk_is_an_error_at_the_next_save_and_leaves_no_checkpoint(engine, group, tmp_path, monkeypatch):
    def full(*words):
        raise OSError(errno.ENOSPC, "No space left on device")

    saving = saver_of(tmp_path, group)
    saving.save(engine, 2, {})
    saving.finish()
    monkeypatch.setattr(saver, "write_state", full)
    saving.save(engine, 4, {})
    with pytest.raises(CheckpointError, match="step-0000000004: the checkpoint can't be written: No space left on dev"):
        saving.save(engine, 6, {})
    assert newest_checkpoint(tmp_path / "checkpoints").step == 2
    monkeypatch.undo()
    saving.save(engine, 6, {})
    saving.finish()
    assert newest_checkpoint(tmp_path / "checkpoints").step == 6


def test_a_disk_that_fills_up_in_the_middle_of_a_file_is_said_plainly(tmp_path, monkeypatch):
    class Filling(io.BytesIO):
        def write(self, content):
            if self.tell() > 1000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(content)

    monkeypatch.setattr(Path, "open", lambda *words: Filling())
    with pytest.raises(OSError, match="No space left on device"):  # and not what torch makes of it
        write_state({"weights": torch.zeros(10_000)}, tmp_path / "file", tmp_path)


def test_files_that_deepspeed_cannot_write_at_once_are_said_plainly(engine, group, tmp_path, monkeypatch):
    def full(*words, **more):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(engine, "save_checkpoint", full)
    with pytest.raises(CheckpointError, match="step-0000000002: the checkpoint can't be written: Disk quota exceeded"):
        saver_of(tmp_path, group).save(engine, 2, {})


def test_storage_that_is_down_is_an_error_at_the_end(engine, group, tmp_path):
    def down():
        raise StorageError("s3://bucket/run: can't write it: connection refused")

    saving = saver_of(tmp_path, group, publish=down)
    saving.save(engine, 2, {})
    with pytest.raises(StorageError, match="connection refused"):
        saving.finish()
    assert find_checkpoint(str(tmp_path)).step == 2  # here it is whole
    assert not list(saving.whole())


@pytest.mark.parametrize("background", [True, False])
def test_a_run_outlasts_storage_that_is_away_for_a_while_but_not_for_good(
    engine, group, tmp_path, background, monkeypatch, caplog
):
    monkeypatch.setattr(saver, "_MOST_UNPUBLISHED", 3)
    away = [True, True, False, True, True, True]

    def publish():
        if away.pop(0):
            raise StorageError("s3://bucket/run: can't write it: connection refused")

    saving = saver_of(tmp_path, group, publish=publish, background_saving=background)
    last = 14 if background else 12
    for step in range(2, last, 2):
        saving.save(engine, step, {})
    with pytest.raises(StorageError, match="connection refused"):
        saving.save(engine, last, {})
    assert [saved.step for saved in saving.whole()] == [6]
    assert "step-0000000008 is whole, but here only: s3://bucket/run: can't write it" in caplog.text


def test_a_save_that_is_cut_off_anywhere_is_never_resumed_from(engine, group, tmp_path, monkeypatch):
    saving = saver_of(tmp_path, group)
    saving.save(engine, 2, {})
    saving.finish()
    reached = []

    class Cut(Exception):
        pass

    def cut_off(name):
        """Let the process die before the function's first call, before its second, …"""
        original = getattr(saver, name)
        for at in itertools.count():
            calls = itertools.count()

            def cutting(*words, at=at, calls=calls):
                if next(calls) == at:
                    raise Cut
                return original(*words)

            monkeypatch.setattr(saver, name, cutting)
            saving.save(engine, 4, {})
            try:
                saving.finish()
            except Cut:
                reached.append(name)
                assert newest_checkpoint(tmp_path / "checkpoints").step == 2
                continue
            finally:
                monkeypatch.setattr(saver, name, original)
            shutil.rmtree(tmp_path / "checkpoints/step-0000000004")
            (tmp_path / "checkpoints/latest").write_text("step-0000000002")
            return

    cut_off("write_state")
    cut_off("write_all_weights")
    cut_off("_sync_folder")
    assert [reached.count(name) for name in ("write_state", "write_all_weights", "_sync_folder")] == [2, 1, 2]


class OneOfTwo(ProcessGroup):
    """A process whose other one is elsewhere in time."""

    def sum(self, values):
        return list(values)

    def from_main(self, value):
        return value

    def barrier(self):
        pass


def test_a_checkpoint_is_whole_only_when_every_process_has_written_its_files(engine, tmp_path):
    saving = saver_of(tmp_path, OneOfTwo(0, 0, 2, torch.device("cpu")))
    saving.save(engine, 2, {})
    folder = tmp_path / "checkpoints/step-0000000002"
    while not (folder / "rank-00000.json").exists():
        time.sleep(0.01)
    time.sleep(0.2)
    assert not (folder / MANIFEST).exists()
    (folder / "rank-00001.json").write_text(json.dumps({"files": [], "fragments": []}))
    saving.finish()
    assert newest_checkpoint(tmp_path / "checkpoints").step == 2


def test_the_failure_of_another_process_is_an_error_here_too(engine, tmp_path):
    class OtherFails(OneOfTwo):
        def sum(self, values):
            return [value + 1 for value in values]

    saving = saver_of(tmp_path, OtherFails(0, 0, 2, torch.device("cpu")))
    saving.save(engine, 2, {})
    with pytest.raises(CheckpointError, match="another process could not write its part"):
        saving.finish()
    assert newest_checkpoint(tmp_path / "checkpoints") is None


@pytest.mark.parametrize(
    ("last", "every", "expected"),
    [(2, None, {40, 50}), (1, 20, {20, 40, 50}), (3, 10, {10, 20, 30, 40, 50}), (9, None, {10, 20, 30, 40, 50})],
)
def test_the_newest_checkpoints_and_every_nth_are_kept(last, every, expected):
    assert kept([10, 20, 30, 40, 50], last, every) == expected


def test_old_checkpoints_and_torn_saves_go(engine, group, tmp_path):
    torn = tmp_path / "checkpoints/step-0000000001"
    torn.mkdir(parents=True)
    saving = saver_of(tmp_path, group, keep_last=1, keep_every=4)
    for step in (2, 4, 6):
        saving.save(engine, step, {})
    saving.finish()
    assert sorted(int(place.name[5:]) for place in (tmp_path / "checkpoints").glob("step-*")) == [4, 6]


def test_a_later_checkpoint_that_was_found_damaged_does_not_push_out_the_new_one(engine, group, tmp_path):
    saving = saver_of(tmp_path, group, keep_last=1)
    for step in (2, 6):
        saving.save(engine, step, {})
    saving.finish()
    (tmp_path / "checkpoints/step-0000000006/model.safetensors").write_bytes(b"")
    saving.save(engine, 4, {})
    saving.finish()
    assert newest_checkpoint(tmp_path / "checkpoints").step == find_checkpoint(str(tmp_path)).step == 4


def test_an_old_checkpoint_that_cannot_be_removed_is_no_failure_of_the_new_one(
    engine, group, tmp_path, monkeypatch, caplog
):
    def busy(target):
        raise OSError(errno.EBUSY, "Device or resource busy")

    published = []
    saving = saver_of(tmp_path, group, lambda: published.append(1), keep_last=1)
    saving.save(engine, 2, {})
    saving.finish()
    monkeypatch.setattr(retention.shutil, "rmtree", busy)
    saving.save(engine, 4, {})
    saving.finish()
    assert newest_checkpoint(tmp_path / "checkpoints").step == 4
    assert len(published) == 2
    assert "step-0000000002: can't be removed: Device or resource busy" in caplog.text


def test_a_save_tells_how_long_training_stood_still_however_soon_it_is_whole(engine, group, tmp_path, monkeypatch):
    count = Saver._count_stall

    def late(self, save, begun):
        while not (save.target / MANIFEST).exists():
            time.sleep(0.01)
        time.sleep(0.1)
        count(self, save, begun)

    monkeypatch.setattr(Saver, "_count_stall", late)
    saving = saver_of(tmp_path, group)
    saving.save(engine, 2, {})
    saving.finish()
    (saved,) = saving.whole()
    assert saved.stalled_s == saving.stalled_s > 0.1


def test_what_was_not_copied_is_no_part_of_a_checkpoint_without_a_word(engine):
    with pytest.raises(CheckpointError, match=r"fp32 of first.weight: DeepSpeed has handed over nothing of it"):
        describe(fragments(engine), HostCopy())


def test_a_process_without_a_part_of_a_parameter_saves_its_shape():
    empty = Fragment("frozen", (5,), 6, {"fp32": torch.empty(0)}, alone=True)
    (row,) = describe([empty], HostCopy())
    assert (row["name"], row["shape"], row["size"], row["kinds"]) == ("frozen", (5,), 0, {})


def test_memory_of_something_passing_is_not_taken_for_that_of_what_comes_after_it():
    copies, passing = HostCopy(), torch.zeros(1000)
    address = passing.data_ptr()
    copies.begin([])
    copies.add("file", {"passing": passing})
    del passing
    later = [torch.ones(1000) for _ in range(100)]
    assert address not in {tensor.data_ptr() for tensor in later}
    assert copies.place(later[0]) is None


def test_numbers_of_any_width_begin_at_multiples_of_it(tmp_path):
    tensors = {
        "flag": torch.tensor(True),
        "odd": torch.randn(3),
        "count": torch.tensor(7),
        "half": torch.randn(2).bfloat16(),
    }
    file = tmp_path / "model.safetensors"
    shapes, dtypes = {n: tuple(t.shape) for n, t in tensors.items()}, {n: t.dtype for n, t in tensors.items()}
    write_weights(file, tmp_path, shapes, dtypes, tensors.__getitem__)
    header = json.loads(file.read_bytes()[8:].split(b"}}", 1)[0] + b"}}")
    widths = {"BOOL": 1, "F32": 4, "I64": 8}
    assert all(entry["data_offsets"][0] % widths[entry["dtype"]] == 0 for entry in header.values())
    assert all(torch.equal(value, tensors[name].to(value.dtype)) for name, value in load_file(file).items())


def test_the_loss_scale_is_that_of_fp16_and_no_other_precision_knows_it(group, tmp_path, monkeypatch):
    def saved(engine, place):
        saving = saver_of(tmp_path / place, group)
        saving.save(engine, 2, {})
        saving.finish()
        return find_checkpoint(str(tmp_path / place))

    plain, scaled = build(group, 1, "fp32"), build(group, 1, "fp32")
    scaled.fp16_enabled = lambda: True  # as far as it matters here; this CPU may have no fp16
    scaled.optimizer.loss_scaler.cur_scale = 512.0
    from_plain, from_scaled = saved(plain, "plain"), saved(scaled, "scaled")
    load_engine(from_scaled, plain)
    assert plain.optimizer.loss_scaler.cur_scale == 1
    load_engine(from_plain, scaled)
    assert scaled.optimizer.loss_scaler.cur_scale == 512
    scaled.optimizer.loss_scaler.cur_scale = 65536.0
    load_engine(from_scaled, scaled)
    assert scaled.optimizer.loss_scaler.cur_scale == 512


def test_any_changed_byte_of_a_manifest_is_damage(checkpoints):
    run, *_ = checkpoints[1, "fp32"]
    file = run / "checkpoints/step-0000000003" / MANIFEST
    content = file.read_bytes()
    assert parse_manifest(str(file.parent), content).intact
    unseen = []
    for at in range(len(content)):
        changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        try:
            found = parse_manifest(str(file.parent), changed)
        except CheckpointError:
            continue
        if found.intact and found.manifest != json.loads(content):
            unseen.append(at)
    assert not unseen


def test_a_damaged_manifest_is_passed_over(engine, group, tmp_path, caplog):
    saving = saver_of(tmp_path, group)
    for step in (2, 4):
        saving.save(engine, step, {})
    saving.finish()
    file = tmp_path / "checkpoints/step-0000000004" / MANIFEST
    file.write_text(file.read_text().replace('"step": 4', '"step": 5'))
    assert newest_checkpoint(tmp_path / "checkpoints").step == 2
    assert "manifest.json: damaged, its content is not what was saved; an older checkpoint is used" in caplog.text


def test_a_manifest_names_no_file_outside_its_folder():
    content = {"step": 1, "settings": {}, "world_size": 1, "state": {}}
    for name in ("/etc/passwd", "../../other", "deepspeed/../../../x"):
        with pytest.raises(CheckpointError, match="expected files below the checkpoint's folder, found "):
            parse_manifest("run", manifest_text(content | {"files": [{"name": name}]}).encode())


def test_every_damaged_file_is_named_and_nothing_but_damage_is_no_new_beginning(engine, group, tmp_path):
    saving = saver_of(tmp_path, group)
    saving.save(engine, 2, {})
    saving.finish()
    found = find_checkpoint(str(tmp_path))
    assert not list(problems(found))
    folder = tmp_path / "checkpoints/step-0000000002"
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(300)
        file.write(b"\x13")
    (folder / "rank-00000.json").unlink()
    assert sorted(problem.rpartition("/")[2].split(":")[0] for problem in problems(found)) == [
        "model.safetensors",
        "rank-00000.json",
    ]
    with pytest.raises(CheckpointError, match="there is no older one to go on from: remove .* to start anew"):
        newest_checkpoint(tmp_path / "checkpoints")


@pytest.fixture(scope="module")
def from_one(tmp_path_factory):
    return in_processes(1, tmp_path_factory.mktemp("one"))


def in_processes(number, out, *others):
    """Save with so many processes, which go on from what others saved."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS.parent)}
    words = [sys.executable, str(TESTS / "ranks_of_small.py"), str(out), *map(str, others)]
    code = f"from cluster.launch import launch_local; raise SystemExit(launch_local({words!r}, {number}))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
def test_two_processes_go_on_where_one_stopped_and_one_where_two_did(from_one, group, tmp_path):
    from_two = in_processes(2, tmp_path / "two", from_one)
    compare(from_two, group)


@pytest.mark.slow
def test_three_processes_go_on_where_one_or_two_stopped_and_these_where_three_did(from_one, tmp_path):
    from_two = in_processes(2, tmp_path / "two", from_one)
    from_three = in_processes(3, tmp_path / "three", from_one, from_two)
    for number in (1, 2):
        in_processes(number, tmp_path / f"again-{number}", from_three)


def test_a_model_with_other_parameters_is_refused(group, checkpoints):
    run, *_ = checkpoints[1, "fp32"]

    class Wider(Small):
        def __init__(self) -> None:
            super().__init__(0)
            self.last = nn.Linear(13, 4)

    engine = build_engine(Wider(), settings_of().train, BATCH, group)
    with pytest.raises(CheckpointError, match=r"expected last.weight of shape \[4, 13\], found \[3, 13\]"):
        load_engine(find_checkpoint(str(run)), engine)


def test_no_code_runs_from_a_file_of_a_checkpoint(tmp_path):
    class Trap:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'sprung')!r}, 'w')",))

    torch.save({"module": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(CheckpointError, match="not a file of a checkpoint"):
        read_state(tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


def test_a_manifest_tells_what_saved_it_and_what_changed_since(checkpoints):
    run, *_ = checkpoints[3, "bf16"]
    found = find_checkpoint(str(run))
    assert {"world_size": 1, "zero_stage": 3, "precision": "bf16"}.items() <= found.manifest.items()
    assert {"torch", "deepspeed", "gavt"} == found.manifest["versions"].keys()
    assert changes(found, settings_of(3, "bf16"), 1) == {}
    assert changes(found, settings_of(1, "bf16"), 2) == {
        "world_size": {"from": 1, "to": 2},
        "zero_stage": {"from": 3, "to": 1},
    }


# what writes the files is compiled first
@pytest.mark.parametrize("offload", ["cpu", pytest.param("nvme", marks=pytest.mark.slow)])
def test_states_in_host_memory_or_in_files_go_into_a_checkpoint_and_out_of_it(group, tmp_path, offload):
    from deepspeed.ops.op_builder import AsyncIOBuilder

    if offload == "nvme" and not AsyncIOBuilder().is_compatible(verbose=False):
        pytest.skip("libaio is not installed")
    width = 300_000 if offload == "nvme" else 13  # what is smaller than a megabyte stays in memory

    def away(name):
        return toy_engine.build(group, 3, "bf16", offload, width=width, offload_folder=str(tmp_path / name))

    engine, saving = away("a"), saver_of(tmp_path / "run", group)
    for step in range(2):
        toy_engine.step(engine, group, step)
    saving.save(engine, 2, {})
    saving.finish()
    again, plain = away("b"), toy_engine.build(group, 1, "fp32", width=width)
    for other in (again, plain):
        load_engine(find_checkpoint(str(tmp_path / "run")), other)
        assert_equal(held(other), held(engine))
    for one in (engine, again):
        toy_engine.step(one, group, 2)
    assert_equal(held(again), held(engine))
