"""Checkpoints of a small model, saved beside its training in this process: the moment of saving, and all of it."""

import json
import threading
import time

import pytest
import torch
from safetensors.torch import load_file
from small_checkpoints import OneOfTwo, held, saver_of

from pipeline.errors import CheckpointError
from pipeline.train.checkpoints import MANIFEST, commit, find_checkpoint, host_copy, newest_checkpoint
from pipeline.train.checkpoints.host_copy import HostCopy
from pipeline.train.checkpoints.restore import load_engine
from pipeline.train.checkpoints.saved_state import describe
from pipeline.train.checkpoints.saver import Saver
from pipeline.train.checkpoints.weights_file import write_weights
from pipeline.train.engine.fragments import Fragment
from small_engine import assert_equal, build, train


def test_training_goes_on_while_a_checkpoint_is_written_and_what_is_saved_is_the_moment_of_saving(
    group, tmp_path, monkeypatch
):
    engine, written, write = build(group, steps=2), threading.Event(), commit.write_state
    monkeypatch.setattr(commit, "write_state", lambda *words: written.wait(60) and write(*words))
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
    order, write = [], commit.write_state

    def slowly(state, file, folder):
        time.sleep(0.1)
        order.append(folder.name)
        return write(state, file, folder)

    monkeypatch.setattr(commit, "write_state", slowly)
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


def test_what_was_not_copied_is_no_part_of_a_checkpoint_without_a_word(engine):
    with pytest.raises(CheckpointError, match=r"fp32 of first.weight: DeepSpeed has handed over nothing of it"):
        describe(engine.fragments(), HostCopy())


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
