"""Saves that fail, beside training: that is said, and nothing half is ever resumed from."""

import errno
import io
import itertools
import shutil
from pathlib import Path

import pytest
import torch
from small_checkpoints import OneOfTwo, saver_of

from cluster import storage
from cluster.errors import StorageError
from pipeline.errors import CheckpointError
from pipeline.train.checkpoints import commit, find_checkpoint, newest_checkpoint, saver
from pipeline.train.checkpoints.written_file import write_state


def test_a_full_disk_is_an_error_at_the_next_save_and_leaves_no_checkpoint(engine, group, tmp_path, monkeypatch):
    def full(*words):
        raise OSError(errno.ENOSPC, "No space left on device")

    saving = saver_of(tmp_path, group)
    saving.save(engine, 2, {})
    saving.finish()
    monkeypatch.setattr(commit, "write_state", full)
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

    monkeypatch.setattr(engine._deepspeed, "save_checkpoint", full)
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

    def cut_off(module, name):
        """Let the process die before the function's first call, before its second, …"""
        original = getattr(module, name)
        for at in itertools.count():
            calls = itertools.count()

            def cutting(*words, at=at, calls=calls):
                if next(calls) == at:
                    raise Cut
                return original(*words)

            monkeypatch.setattr(module, name, cutting)
            saving.save(engine, 4, {})
            try:
                saving.finish()
            except Cut:
                reached.append(name)
                assert newest_checkpoint(tmp_path / "checkpoints").step == 2
                continue
            finally:
                monkeypatch.setattr(module, name, original)
            shutil.rmtree(tmp_path / "checkpoints/step-0000000004")
            (tmp_path / "checkpoints/latest").write_text("step-0000000002")
            return

    cut_off(commit, "write_state")
    cut_off(commit, "write_all_weights")
    cut_off(storage, "make_durable")
    assert [reached.count(name) for name in ("write_state", "write_all_weights", "make_durable")] == [2, 1, 2]


def test_the_failure_of_another_process_is_an_error_here_too(engine, tmp_path):
    class OtherFails(OneOfTwo):
        def sum(self, values):
            return [value + 1 for value in values]

    saving = saver_of(tmp_path, OtherFails(0, 0, 2, torch.device("cpu")))
    saving.save(engine, 2, {})
    with pytest.raises(CheckpointError, match="another process could not write its part"):
        saving.finish()
    assert newest_checkpoint(tmp_path / "checkpoints") is None


def test_files_of_another_process_that_are_never_seen_here_end_the_run_with_what_to_do(engine, tmp_path, monkeypatch):
    """Machines with a disk each: all processes have written, and none sees the others' files."""
    monkeypatch.setattr(commit, "_SEEN_S", 0.1)
    saving = saver_of(tmp_path, OneOfTwo(0, 0, 2, torch.device("cpu")))
    saving.save(engine, 2, {})
    with pytest.raises(CheckpointError, match=r"rank-00001.json: expected what another process .* that they share"):
        saving.finish()
    assert newest_checkpoint(tmp_path / "checkpoints") is None
