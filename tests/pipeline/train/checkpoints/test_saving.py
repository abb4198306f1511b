"""Checkpoints of a small model, saved beside its training in this process: the moment of saving, and all of it."""

import hashlib
import threading
import time
from pathlib import Path

import torch
from safetensors.torch import load
from small_checkpoints import OneOfTwo, held, newest_checkpoint, report_of_another, saver_of

from pipeline.train.checkpoints import MANIFEST, commit, find_checkpoint, saver
from pipeline.train.checkpoints.host_copy import HostCopy
from pipeline.train.checkpoints.restore import load_engine
from pipeline.train.checkpoints.saver import Saver
from pipeline.train.checkpoints.share import SavedFile, ShareFile, pieces_of
from pipeline.train.engine.fragments import Fragment
from small_engine import assert_equal, build, train


def test_training_goes_on_while_a_checkpoint_is_written_and_what_is_saved_is_the_moment_of_saving(
    group, tmp_path, monkeypatch
):
    engine, written, write = build(group, steps=2), threading.Event(), commit.write_share
    monkeypatch.setattr(saver, "write_share", lambda *words: written.wait(60) and write(*words))
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
    order, write = [], commit.write_share

    def slowly(save, content, rank):
        time.sleep(0.1)
        order.append(save.step)
        return write(save, content, rank)

    monkeypatch.setattr(saver, "write_share", slowly)
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
        while not Path(save.target, MANIFEST).exists():
            time.sleep(0.01)
        time.sleep(0.1)
        count(self, save, begun)

    monkeypatch.setattr(Saver, "_count_stall", late)
    saving = saver_of(tmp_path, group)
    saving.save(engine, 2, {})
    saving.finish()
    (saved,) = saving.whole()
    assert saved.stalled_s == saving.stalled_s > 0.1


def test_a_checkpoint_is_whole_only_when_every_process_has_reported_its_file(engine, tmp_path):
    group = OneOfTwo()
    saving = saver_of(tmp_path, group)
    saving.save(engine, 2, {})
    folder = tmp_path / "checkpoints/step-0000000002"
    while not (folder / "rank-00000.safetensors").exists():
        time.sleep(0.01)
    time.sleep(0.2)
    assert not (folder / MANIFEST).exists()
    report_of_another(group, saving)
    saving.finish()
    assert newest_checkpoint(tmp_path / "checkpoints").step == 2


def test_numbers_of_any_width_begin_at_multiples_of_it_and_are_plain_safetensors(tmp_path):
    tensors = {
        "flag": torch.tensor(True),
        "odd": torch.randn(3),
        "count": torch.tensor(7),
        "half": torch.randn(2).bfloat16(),
        "empty": torch.empty(0),
    }
    held = [Fragment(name, tuple(one.shape), 0, {"fp32": one.view(-1)}, True) for name, one in tensors.items()]
    pieces = [piece for one in held for piece in pieces_of(one)]
    layout, copy = ShareFile(pieces), HostCopy()
    copy.note(layout.header, layout.bytes, zip([one.kinds["fp32"] for one in held], layout.offsets, strict=True), [])
    content = copy.take()
    entry = layout.seal("rank-00000.safetensors", content)
    assert all(offset % piece.dtype.itemsize == 0 for piece, offset in zip(pieces, layout.offsets, strict=True))
    loaded = load(bytes(content))
    assert loaded.keys() == {f"fp32/{name}" for name in tensors if name != "empty"}
    assert all(torch.equal(value, tensors[name.removeprefix("fp32/")]) for name, value in loaded.items())
    assert entry["bytes"] == len(content)
    hashes = SavedFile.of(entry).hashes(bytes(content[: entry["header"]["bytes"]]))
    assert hashes == [hashlib.sha256(content[entry["header"]["bytes"] :]).hexdigest()]


def test_what_lies_side_by_side_is_copied_at_one_go(group):
    engine, copy = build(group, 1, steps=1), HostCopy()
    held = list(engine.fragments())
    pieces = [piece for one in held for piece in pieces_of(one)]
    layout = ShareFile(pieces)
    numbers = [numbers for one in held for numbers in one.kinds.values()]
    copy.note(layout.header, layout.bytes, zip(numbers, layout.offsets, strict=True), list(engine.module.buffers()))
    assert len(copy._noted) < len(pieces) / 2
