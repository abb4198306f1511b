"""Damaged checkpoints, and those of others: what is found, said and never done."""

import json

import pytest
from small_checkpoints import held, newest_checkpoint, saver_of

from pipeline.errors import CheckpointError
from pipeline.train.checkpoints import MANIFEST, find_checkpoint, share, share_reader
from pipeline.train.checkpoints.layout import DamagedError, manifest_text, parse_manifest
from pipeline.train.checkpoints.restore import load_engine
from pipeline.train.checkpoints.verify import problems
from small_engine import assert_equal, build


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


def test_any_changed_byte_of_what_is_read_is_found_as_it_is_read(engine, group, tmp_path, monkeypatch):
    monkeypatch.setattr(share, "_LEAST_BLOCK", 64)
    monkeypatch.setattr(share_reader, "AT_ONCE", 1024)
    saving = saver_of(tmp_path, group)
    saving.save(engine, 2, {})
    saving.finish()
    found, again = find_checkpoint(str(tmp_path)), build(group, seed=5)
    file = tmp_path / "checkpoints/step-0000000002/rank-00000.safetensors"
    content = file.read_bytes()
    (entry,) = found.manifest["files"]
    assert entry["block_bytes"] == 64
    for at in {*range(0, len(content), len(content) // 12), entry["header"]["bytes"], len(content) - 1}:
        file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(DamagedError, match=f"{file}: damaged, its content is not what was saved"):
            load_engine(found, again)
        assert list(problems(found)) == [f"{file}: damaged, its content is not what was saved"]
    for cut in (b"", content[:100], content[:-1]):
        file.write_bytes(cut)
        with pytest.raises(DamagedError, match=f"{file}: damaged, its content is not what was saved"):
            load_engine(found, again)
    file.unlink()
    with pytest.raises(DamagedError, match=f"{file}: missing from its checkpoint"):
        load_engine(found, again)
    file.write_bytes(content)
    load_engine(found, again)
    assert_equal(held(again), held(engine))


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
    for name in ("/etc/passwd", "../../other", "a/../../../x"):
        with pytest.raises(CheckpointError, match="expected files below the checkpoint's folder, found "):
            parse_manifest("run", manifest_text(content | {"files": [{"name": name}]}).encode())


def test_every_damaged_file_is_named_and_nothing_but_damage_is_no_new_beginning(engine, group, tmp_path):
    saving = saver_of(tmp_path, group)
    saving.save(engine, 2, {})
    saving.finish()
    found = find_checkpoint(str(tmp_path))
    assert not list(problems(found))
    folder = tmp_path / "checkpoints/step-0000000002"
    (folder / "rank-00000.safetensors").unlink()
    (problem,) = problems(found)
    assert problem == f"{folder}/rank-00000.safetensors: missing from its checkpoint"
    with pytest.raises(CheckpointError, match="there is no older one to go on from: remove .* to start anew"):
        newest_checkpoint(tmp_path / "checkpoints")
