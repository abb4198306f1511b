"""Saves that fail, beside training: that is said, and nothing half is ever resumed from."""

import errno
import itertools
import shutil

import pytest
from small_checkpoints import OneOfTwo, newest_checkpoint, report_of_another, saver_of

from cluster import storage
from cluster.errors import StorageError, UnreachableError
from pipeline.errors import CheckpointError
from pipeline.train.checkpoints import commit, saver
from pipeline.train.checkpoints.save import Fault
from pipeline.train.checkpoints.saver import Saver
from small_engine import settings_of


def test_a_full_disk_is_an_error_at_the_next_save_and_leaves_no_checkpoint(engine, group, tmp_path, monkeypatch):
    def full(*words):
        raise OSError(errno.ENOSPC, "No space left on device")

    saving = saver_of(tmp_path, group)
    saving.save(engine, 2, {})
    saving.finish()
    monkeypatch.setattr(storage, "write_bytes", full)
    saving.save(engine, 4, {})
    with pytest.raises(CheckpointError, match="step-0000000004: the checkpoint can't be written: No space left on dev"):
        saving.save(engine, 6, {})
    assert newest_checkpoint(tmp_path / "checkpoints").step == 2
    monkeypatch.undo()
    saving.save(engine, 6, {})
    saving.finish()
    assert newest_checkpoint(tmp_path / "checkpoints").step == 6


def test_storage_that_is_down_is_an_error_at_the_end(engine, group, s3_bucket):
    def down():
        raise StorageError("s3://bucket/run: can't write it: connection refused")

    saving = Saver(f"{s3_bucket}/run/checkpoints", group, settings_of(), down)
    saving.save(engine, 2, {})
    with pytest.raises(StorageError, match="connection refused"):
        saving.finish()
    assert newest_checkpoint(f"{s3_bucket}/run/checkpoints") is None
    assert not list(saving.whole())


@pytest.mark.parametrize("background", [True, False])
def test_a_run_outlasts_storage_that_is_away_for_a_while_but_not_for_good(
    engine, group, s3_bucket, background, monkeypatch, caplog
):
    monkeypatch.setattr(saver, "_MOST_LOST", 3)
    away, write = [True, True, False, True, True, True], storage.write_bytes

    def unless_away(url, content):
        if away.pop(0):
            raise UnreachableError(f"{url}: can't write it: connection refused")
        write(url, content)

    monkeypatch.setattr(storage, "write_bytes", unless_away)
    saving = Saver(f"{s3_bucket}/run/checkpoints", group, settings_of(background_saving=background), lambda: None)
    last = 14 if background else 12
    for step in range(2, last, 2):
        saving.save(engine, step, {})
    with pytest.raises(StorageError, match="connection refused"):
        saving.save(engine, last, {})
    assert [saved.step for saved in saving.whole()] == [6]
    assert newest_checkpoint(f"{s3_bucket}/run/checkpoints").step == 6
    assert f"{s3_bucket}/run/checkpoints/step-0000000008 is not saved: s3://" in caplog.text


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

    cut_off(saver, "write_share")
    cut_off(storage, "write_bytes")
    cut_off(storage, "make_durable")
    names = ("write_share", "write_bytes", "make_durable")
    assert [reached.count(name) for name in names] == [1, 1, 1]


def test_the_failure_of_another_process_is_an_error_here_too(engine, tmp_path):
    class OtherFails(OneOfTwo):
        def sum(self, values):
            return [value + 1 for value in values]

        def gather_objects(self, value):
            return [value, Fault("disk full", passes=False)]

    saving = saver_of(tmp_path, OtherFails())
    saving.save(engine, 2, {})
    with pytest.raises(CheckpointError, match="step-0000000002: process 1 could not write its part: disk full"):
        saving.finish()
    assert newest_checkpoint(tmp_path / "checkpoints") is None


def test_files_of_another_process_that_are_never_seen_here_end_the_run_with_what_to_do(engine, tmp_path, monkeypatch):
    """Machines with a disk each: all processes have written, and none sees the others' files."""
    monkeypatch.setattr(commit, "_SEEN_S", 0.1)
    group = OneOfTwo()
    saving = saver_of(tmp_path, group)
    report_of_another(group, saving, files=["rank-00001.safetensors"])
    saving.save(engine, 2, {})
    with pytest.raises(CheckpointError, match=r"rank-00001.safetensors: expected what another .* that they share"):
        saving.finish()
    assert newest_checkpoint(tmp_path / "checkpoints") is None
