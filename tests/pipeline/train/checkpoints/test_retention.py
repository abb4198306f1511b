"""Which checkpoints are kept."""

import errno
import shutil

import pytest
from small_checkpoints import newest_checkpoint, saver_of

from pipeline.train.checkpoints import find_checkpoint
from pipeline.train.checkpoints.retention import kept


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
    (tmp_path / "checkpoints/step-0000000006/rank-00000.safetensors").write_bytes(b"")
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
    monkeypatch.setattr(shutil, "rmtree", busy)
    saving.save(engine, 4, {})
    saving.finish()
    assert newest_checkpoint(tmp_path / "checkpoints").step == 4
    assert len(published) == 2
    assert "step-0000000002: can't remove it: [Errno 16] Device or resource busy" in caplog.text
