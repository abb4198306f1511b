"""Features of a set are made exactly once each: killed, resumed and shared by processes, to the same bytes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cluster import storage
from cluster.process_group import ProcessGroup
from jobs.cli import main
from pipeline.errors import SettingsError, ShardSetError
from pipeline.extract.extract import extract_features
from pipeline.extract.ledger import Tally
from pipeline.extract.settings import ExtractSettings
from pipeline.features.settings import FeatureSettings
from pipeline.inspect.verify import verify
from pipeline.shards.array_file import decode_array
from pipeline.shards.dataset import Dataset
from pipeline.shards.ledger import read_ledger
from pipeline.shards.shard_set import ShardSet
from pipeline.stream.read_plan import plan_reading
from pipeline.stream.settings import DataSettings
from tiny_shards import write_shard_set

ALONE = ProcessGroup(0, 0, 1, torch.device("cpu"))
HERE = DataSettings(workers=0)
RESNET = {"models": [{"model": "resnet18"}], "random_weights": True, "batch": 2}


def extract(source: Path, out: Path, **changed: Any) -> Dataset:
    settings = ExtractSettings.model_validate(RESNET | changed)
    return extract_features(str(source), str(out), settings, HERE, ALONE)


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def wrong_in(folder: Path) -> list[str]:
    """What the check of a set finds, but for the keys that tests give samples."""
    found = [problem.what for problem in verify(str(folder), 0).problems]
    return [what for what in found if not what.startswith("expected a sample of the video")]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shard_set(tmp_path_factory.mktemp("source"), 5, 2)


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "features"
    extract(source, out)
    return out


def test_one_shard_a_shard_with_what_is_known_of_each_sample_and_no_media(source: Path, made: Path) -> None:
    before, after = ShardSet.open(str(source)), ShardSet.open(str(made))
    assert after.shards == before.shards
    for place in range(len(before)):
        old, new = before.read(place), after.read(place)
        assert (new.key, new.text, list(new.files)) == (old.key, old.text, ["json", "visual.npy"])
    features = decode_array(new.files["visual.npy"])
    assert (features.shape, features.dtype) == ((1, 7, 7, 512), np.float16)
    assert [entry.samples for entry in read_ledger(str(made))] == [1] * 5
    assert wrong_in(made) == []
    told = json.loads((made / "dataset.json").read_text())["features"]
    assert told["source"] == str(source)
    member = told["members"]["visual.npy"]
    assert (member["model"], member["shape"], len(member["weights_sha256"])) == ("resnet18", [1, 7, 7, 512], 64)


def test_what_was_stored_before_stays_and_media_too_where_asked_for(made: Path, source: Path, tmp_path: Path) -> None:
    extract(source, tmp_path / "both", keep_media=True)
    extract(tmp_path / "both", tmp_path / "more", models=[{"model": "resnet18", "name": "again"}])
    both, more = (ShardSet.open(str(tmp_path / name)).read(0) for name in ("both", "more"))
    assert list(both.files) == ["json", "jpg", "flac", "visual.npy"]
    assert list(more.files) == ["json", "visual.npy", "again.npy"]
    assert more.files["again.npy"] == more.files["visual.npy"] == ShardSet.open(str(made)).read(0).files["visual.npy"]
    assert wrong_in(tmp_path / "both") == []


def test_nothing_that_was_stored_is_lost_to_a_member_of_its_name(made: Path, source: Path, tmp_path: Path) -> None:
    extract(source, tmp_path / "both", keep_media=True)
    with pytest.raises(ShardSetError, match=r"expected no \.visual\.npy in it.*NAME=MODEL"):
        extract(tmp_path / "both", tmp_path / "more")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "a/b=resnet18", "--random-weights"], "--model a/b=resnet18: expected MEMBER=MODEL"),
        (["--model", "vgg16"], "--model: expected vgg19, .* found vgg16"),
        (
            ["--model", "resnet18", "--random-weights"],
            "out: stopped, since none of the first 2 samples gave features, such as: .*: .*; with --max-failure-rate 1",
        ),
        (
            ["--model", "resnet18", "--random-weights", "--max-failure-rate", "1"],
            "out: none of 5 videos gave features; see .*ledger.jsonl",
        ),
    ],
)
def test_what_can_t_be_had_is_said(
    made: Path, tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["features", str(made), "--out", str(tmp_path / "out"), "--workers", "0", *words])
    assert left.value.code == 2
    assert re.search(said, capsys.readouterr().err)


def test_a_bad_sample_is_left_out_and_told_in_the_ledger(tmp_path: Path) -> None:
    source = write_shard_set(tmp_path / "source", 8, 4, samples_per_video=2)
    tar = source / "shard-000000.tar"
    whole = tar.read_bytes()
    content = bytearray(whole)
    for key in (b"video1-000.jpg", b"video2-000.jpg", b"video3-000.jpg"):
        content[content.index(key) + 512 + 100] ^= 255
    tar.write_bytes(content)
    dataset = extract(source, tmp_path / "out")
    assert (dataset.samples, dataset.failed, dataset.reasons) == (5, 1, {"damaged": 1})
    first, second, third, _ = read_ledger(str(tmp_path / "out"))
    assert (first.status, first.samples) == ("ok", 1)
    assert first.message is not None
    assert first.message.startswith("samples left out: 1 of 2, such as: video1-000: expected files with the checksum")
    assert (second.status, second.reason, second.samples) == ("failed", "damaged", 0)
    assert (third.status, third.message, third.samples) == ("ok", None, 2)

    def again(reason: str) -> Dataset:
        settings = ExtractSettings.model_validate(RESNET)
        return extract_features(str(source), str(tmp_path / "out"), settings, HERE, ALONE, retry=frozenset([reason]))

    tar.write_bytes(whole)
    before = content_of(tmp_path / "out")
    again("crash")
    assert content_of(tmp_path / "out") == before  # nothing failed for that
    dataset = again("damaged")
    assert (dataset.samples, dataset.failed) == (8, 0)
    extract(source, tmp_path / "anew")
    ours, anew = content_of(tmp_path / "out"), content_of(tmp_path / "anew")
    tars = [name for name in anew if name.endswith(".tar")]
    assert ours.keys() == anew.keys()
    assert all(ours[name] == anew[name] for name in tars)
    assert [entry.attempts for entry in read_ledger(str(tmp_path / "out"))] == [2, 2, 1, 1]


def test_another_shape_than_the_stored_one_is_told_before_a_sample_is_read(made: Path) -> None:
    wanted = {"inputs": {"visual": {"kind": "stored", "member": "visual.npy", "shape": [10, 7, 7, 512]}}}
    with pytest.raises(
        SettingsError, match=r"inputs\.visual\.shape: expected \[1, 7, 7, 512\], as visual\.npy is in .*, found \[10, 7"
    ):
        plan_reading(str(made), FeatureSettings.model_validate(wanted), HERE, 0, False, fields=["visual"])


def test_it_stops_where_more_fail_than_may(tmp_path: Path) -> None:
    entries = [Tally(40, 30, "a: wrong"), Tally(20, 0)]
    entries[0].check("out", 0.4, True)  # too few to say
    with pytest.raises(ShardSetError, match=r"out: stopped, since 30 of 60 samples failed, more than 40%, such as: a:"):
        entries[0].plus(entries[1]).check("out", 0.4, False)
    entries[0].plus(entries[1]).check("out", 0.5, False)


def test_killed_anywhere_and_started_again_the_bytes_are_the_same(source: Path, made: Path, tmp_path: Path) -> None:
    for left in (["shard-000001.json"], ["dataset.json", "shard-000002.tar", "ledger.jsonl"]):
        out = tmp_path / f"without{len(left)}{''.join(left)}"
        out.mkdir()
        for name, content in content_of(made).items():
            if name not in left:
                (out / name).write_bytes(content)
        extract(source, out)
        assert content_of(out) == content_of(made)


def test_another_plan_is_refused_with_what_differs(source: Path, made: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ShardSetError, match=r"made by another plan: dtype was 'float16' and is now 'float32'; expected"
    ):
        extract(source, made, dtype="float32")
    with pytest.raises(ShardSetError, match=r"made by another plan: members was \{'visual\.npy': .*weights_sha256"):
        extract(source, made, seed=1)
    with pytest.raises(ShardSetError, match="made by another plan: source_contents was"):
        extract(write_shard_set(tmp_path, 5, 2, seed=3), made)


def test_weights_must_be_named(source: Path, tmp_path: Path) -> None:
    for changed, sentence in (
        (
            {"random_weights": False},
            r"--weights: expected weights of resnet18, a file \(\.pth.*IMAGENET1K_V1.*, found none",
        ),
        ({"models": [{"model": "resnet18", "weights": "V7"}]}, r"--weights: .*or IMAGENET1K_V1 .*, found V7"),
        ({"models": [{"model": "resnet18"}, {"model": "resnet18"}]}, r"--model: .*found visual twice; say NAME=MODEL"),
        ({"models": [{"model": "timm/vit_tiny"}]}, r"--model timm/vit_tiny: expected"),
    ):
        with pytest.raises(SettingsError, match=sentence):
            extract(source, tmp_path / "out", **changed)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_processes_and_a_kill_in_the_middle_give_the_same_bytes(source: Path, made: Path, tmp_path: Path) -> None:
    words = ["features", str(source), "--model", "resnet18", "--random-weights", "--batch", "2"]
    command = [sys.executable, "-m", "jobs.cli", *words, "--out", str(tmp_path / "out"), "--workers", "1", "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    while not (tmp_path / "out/shard-000000.json").exists():
        assert first.poll() is None
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    again = subprocess.run([*command, "--nproc", "2"], env=environment, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert content_of(tmp_path / "out") == content_of(made)
    assert json.loads(again.stdout.splitlines()[-1])["samples"] == 5


def test_the_page_of_a_set_shows_what_is_stored(made: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    with pytest.raises(SystemExit, match="0"):
        main(["inspect", str(made), "--html", str(page), "--cards", "2"])
    text = page.read_text()
    assert text.count("visual.npy [1, 7, 7, 512] float16") == 2
    assert 'class="problem"' not in text
    assert 'class="sound"' not in text


def test_on_object_storage_the_shards_are_the_same(source: Path, made: Path, moto_bucket: str) -> None:
    for path in source.iterdir():
        storage.upload(path, f"{moto_bucket}/source/{path.name}")
    settings = ExtractSettings.model_validate(RESNET)
    extract_features(f"{moto_bucket}/source", f"{moto_bucket}/out", settings, HERE, ALONE)
    for name in ("shard-000000.tar", "shard-000002.tar", "shard-000001.json", "plan.json", "ledger.jsonl"):
        assert storage.read_bytes(f"{moto_bucket}/out/{name}") == (made / name).read_bytes()
    assert not storage.exists(f"{moto_bucket}/out/prepare.lock")
