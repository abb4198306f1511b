"""Videos to a shard set: the whole, its bytes, and what happens when it is disturbed."""

import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from deadly_decoder import prepare_or_die
from PIL import Image

from barcode_video import read_barcode, write_video
from cluster.isolation import Isolated, ProcessLost
from cluster.ray_pool import RayPool
from listed_rows import ListedRows
from pipeline.errors import MediaError, ShardSetError
from pipeline.prepare.build import decode_row
from pipeline.prepare.layouts.sample import PreparedVideo, key_of
from pipeline.prepare.manifests.read import VideoList
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.prepare import in_this_process, in_turn, on_ray, prepare
from pipeline.prepare.settings import LimitSettings, PrepareSettings
from pipeline.prepare.video_samples import prepare_video
from pipeline.reasons import Reason
from pipeline.samples.metadata import SampleMetadata
from pipeline.shards.ledger import read_ledger
from pipeline.sound.flac import decode_flac

SMALL = PrepareSettings(min_clip_s=1, frame_rate_hz=1, audio_samples=11025, rows_per_shard=2)
WORDS = {
    "small": ["-s", "prepare.min_clip_s=1", "-s", "prepare.frame_rate_hz=1", "-s", "prepare.audio_samples=11025"],
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number in range(5):
        write_video(folder / f"video {number}.mp4", 2 + number)
    return folder


@pytest.fixture(scope="module")
def undisturbed(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    prepare(VideoList([str(videos)]), str(out), SMALL, in_this_process)
    return out


def content_of(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def gavt(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "jobs.cli", "prepare", *words], capture_output=True, text=True, timeout=300
    )


def test_a_shard_set_is_what_its_contract_says(undisturbed: Path) -> None:
    dataset = json.loads((undisturbed / "dataset.json").read_text())
    plan = json.loads((undisturbed / "plan.json").read_text())
    ledger = [json.loads(line) for line in (undisturbed / "ledger.jsonl").read_text().splitlines()]
    assert (dataset["version"], dataset["layouts"], dataset["plan_hash"]) == (1, ["frame"], plan["hash"])
    shards = [json.loads(line) for line in (undisturbed / plan["parts"][0]["file"]).read_text().splitlines()]
    assert [len(rows) for rows in shards] == [2, 2, 1]
    assert [entry["status"] for entry in ledger] == ["ok"] * 5
    assert dataset["samples"] == sum(entry["samples"] for entry in ledger) == 1 + 2 + 3 + 4 + 5
    for number, entry in enumerate(dataset["shards"]):
        tar = (undisturbed / entry["name"]).read_bytes()
        index = json.loads((undisturbed / f"shard-{number:06d}.json").read_text())
        assert entry["sha256"] == index["sha256"] == hashlib.sha256(tar).hexdigest()
        assert entry["bytes"] == index["bytes"] == len(tar)
        assert entry["samples"] == len(index["samples"])
        assert entry["videos"] == sum(one["samples"] > 0 for one in index["inputs"])
        for sample in index["samples"]:
            assert re.fullmatch(r"[A-Za-z0-9_-]+", sample["key"])
            # one range of bytes holds the whole sample
            piece = io.BytesIO(tar[sample["offset"] : sample["offset"] + sample["bytes"]])
            with tarfile.open(fileobj=piece) as part:
                assert part.getnames() == [f"{sample['key']}.{kind}" for kind in ("json", "jpg", "flac")]
                assert {(member.mtime, member.uid, member.gid) for member in part} == {(0, 0, 0)}


def test_webdataset_reads_the_shards_and_each_sample_is_true(undisturbed: Path) -> None:
    seen = 0
    for path in sorted(undisturbed.glob("*.tar")):
        for sample in webdataset.WebDataset(str(path), shardshuffle=False):
            metadata = SampleMetadata.model_validate_json(sample["json"])
            picture = np.asarray(Image.open(io.BytesIO(sample["jpg"])).convert("RGB"))
            audio, rate = decode_flac(sample["flac"])
            assert (audio.shape, rate) == ((1, 11025), 11025)
            assert (metadata.audio_samples, metadata.audio_rate_hz) == (11025, 11025)
            assert read_barcode(picture) / 25 == pytest.approx(metadata.frame_times_s[0], abs=1e-3)
            assert metadata.audio_start_s <= metadata.frame_times_s[0] <= metadata.audio_start_s + 1
            seen += 1
    assert seen == 15


def test_ray_makes_the_same_bytes_as_one_process(videos: Path, undisturbed: Path, tmp_path: Path) -> None:
    with RayPool(workers=2) as pool:
        prepare(VideoList([str(videos)]), str(tmp_path), SMALL, on_ray(pool))
        assert content_of(tmp_path) == content_of(undisturbed)
        # only what is missing is made again
        (tmp_path / "shard-000001.json").unlink()
        (tmp_path / "dataset.json").unlink()
        before = (tmp_path / "shard-000000.tar").stat().st_mtime_ns
        prepare(VideoList([str(videos)]), str(tmp_path), SMALL, on_ray(pool))
        assert (tmp_path / "shard-000000.tar").stat().st_mtime_ns == before
        assert content_of(tmp_path) == content_of(undisturbed)


def test_few_videos_are_prepared_without_ray_and_one_that_hangs_is_given_up(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["prepare", str(videos), "--out", str(tmp_path / "out"), *WORDS["small"]]
    code = f"import sys; from jobs.cli import main; main({words!r}); assert 'ray' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], timeout=300).returncode == 0
    assert json.loads((tmp_path / "out/dataset.json").read_text())["samples"] == 15
    monkeypatch.setattr("cluster.isolation._LOOK_EVERY_S", 0)  # no video is as fast
    hasty = SMALL.model_copy(update={"limits": LimitSettings(deadline_s=0.001), "rows_per_shard": 8})
    dataset = prepare(VideoList([str(videos / "video 4.mp4")]), str(tmp_path / "hasty"), hasty, in_turn)
    assert dataset.reasons == {"timeout": 1}


def begin(videos: Path, out: Path, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "jobs.cli", "prepare", str(videos), "--out", str(out), *WORDS["small"], *words]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def wait_for(found: Path, process: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + 120
    while not found.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def test_killed_at_any_moment_and_started_again_it_ends_with_the_same_bytes(
    videos: Path, undisturbed: Path, tmp_path: Path
) -> None:
    words = ["-s", "prepare.rows_per_shard=2", "--workers", "1"]
    process = begin(videos, tmp_path / "out", *words)
    wait_for(tmp_path / "out/shard-000000.json", process)
    process.kill()
    process.communicate()
    assert not (tmp_path / "out/dataset.json").exists()
    again = begin(videos, tmp_path / "out", *words, "--json")
    output, errors = again.communicate(timeout=200)
    assert again.returncode == 0, errors
    assert json.loads(output.splitlines()[-1])["samples"] == 15
    assert content_of(tmp_path / "out") == content_of(undisturbed)


@pytest.mark.parametrize(
    ("number", "where"), [(signal.SIGTERM, []), (signal.SIGINT, ["--local"]), (signal.SIGHUP, ["--local"])]
)
def test_asked_to_stop_it_ends_in_order_and_says_how_to_go_on(
    number: int, where: list[str], videos: Path, tmp_path: Path
) -> None:
    (tmp_path / "many").mkdir()
    for copy in range(60):
        (tmp_path / f"many/{copy:02d}.mp4").symlink_to(videos / "video 4.mp4")
    words = ["-s", "prepare.rows_per_shard=1", "-s", "prepare.frame_rate_hz=25", *where]
    process = begin(tmp_path / "many", tmp_path / "out", *words)
    wait_for(tmp_path / "out/shard-000000.json", process)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; the shards that are done stay" in " ".join(output.split())
    assert "Traceback" not in errors


def test_a_folder_with_something_else_is_left_alone(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ShardSetError, match="expected an empty folder or a shard set, found other files"):
        prepare(VideoList([str(videos)]), str(tmp_path), SMALL, in_this_process)
    (tmp_path / "plan.json").write_text('{"shards": 3}')
    with pytest.raises(ShardSetError, match=r"plan\.json: expected the plan of a shard set, found something else"):
        prepare(VideoList([str(videos)]), str(tmp_path), SMALL, in_this_process)


def broken(folder: Path) -> Iterator[tuple[str, str]]:
    """Writes every kind of broken input; gives (path, its reason)."""
    whole = write_video(folder / "whole.mp4", 4, container_options={"movflags": "faststart"}).read_bytes()

    def put(name: str, content: bytes) -> str:
        (folder / name).write_bytes(content)
        return str(folder / name)

    yield str(folder / "gone.mp4"), "missing"
    yield put("empty.mp4", b""), "unreadable"
    yield put("text.mp4", b"This is no video, whatever its name says.\n" * 50), "unreadable"
    yield (
        put("playlist.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/passwd\n#EXT-X-ENDLIST\n"),
        "unreadable",
    )
    yield put("noise.mkv", np.random.default_rng(0).bytes(100_000)), "unreadable"
    yield put("beheaded.mp4", whole[len(whole) // 2 :]), "unreadable"
    yield put("cut-early.mp4", whole[: whole.index(b"mdat") + 2000]), "damaged"
    (folder / "folder.mp4").mkdir()
    yield str(folder / "folder.mp4"), "unreadable"
    (folder / "link.mp4").symlink_to(folder / "nowhere.mp4")
    yield str(folder / "link.mp4"), "missing"
    os.mkfifo(folder / "pipe.mp4")
    yield str(folder / "pipe.mp4"), "unreadable"
    yield str(write_video(folder / "dumb.mp4", 4, audio_codec=None)), "no_audio"
    yield str(write_video(folder / "blind.mp4", 4, codec=None)), "no_video"
    silence = np.zeros((1, 4 * 44100), np.float32)
    yield str(write_video(folder / "silent.mp4", 4, audio=silence)), "silent"
    yield str(write_video(folder / "short.mp4", 0.5)), "too_short"
    yield str(write_video(folder / "short-audio.mp4", 4, audio=silence[:, :20000] + 0.1)), "too_short"
    picture = io.BytesIO()
    Image.new("RGB", (64, 64)).save(picture, "PNG")
    yield put("picture.mp4", picture.getvalue()), "no_video"
    spoilt = bytearray(whole)
    start = whole.index(b"mdat") + 4
    spoilt[start:] = np.random.default_rng(1).bytes(len(whole) - start)
    yield put("spoilt.mp4", bytes(spoilt)), "damaged"


def test_every_kind_of_broken_input_is_a_row_with_its_reason(tmp_path: Path) -> None:
    cases = dict(broken(tmp_path))
    rows = [VideoRow(video=f"v{number}", source=path) for number, path in enumerate(cases)]
    strict = SMALL.model_copy(update={"short_sound": "refuse"})
    dataset = prepare(ListedRows(rows), str(tmp_path / "out"), strict, in_this_process)
    inputs = list(read_ledger(str(tmp_path / "out")))
    found = {Path(entry.source).name: entry.reason for entry in inputs}
    assert found == {Path(path).name: reason for path, reason in cases.items()}
    assert all(entry.message and "\n" not in entry.message for entry in inputs)
    assert set(found.values()) <= {reason.value for reason in Reason}
    assert dataset.samples == 0
    assert (tmp_path / "out/shard-000000.tar").exists()


def test_a_file_cut_in_the_middle_gives_what_is_whole(tmp_path: Path) -> None:
    path = write_video(tmp_path / "cut.mp4", 10, container_options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    samples = prepare_video(VideoRow(video="cut", source=str(path)), SMALL).samples
    assert 2 <= len(samples) <= 6
    for sample in samples:
        time_s = json.loads(sample.files["json"])["frame_times_s"][0]
        assert read_barcode(np.asarray(Image.open(io.BytesIO(sample.files["jpg"])))) / 25 == pytest.approx(
            time_s, abs=1e-3
        )


def test_a_process_that_dies_gets_a_second_chance_and_then_its_reason() -> None:
    row = VideoRow(video="v", source="v.mp4")

    def decode(fates: list[str]) -> Any:
        def attempt(deadline_s: float, row: VideoRow, settings: PrepareSettings, place: str) -> PreparedVideo:
            if fates:
                raise ProcessLost(fates.pop(0), "its process died of signal 11")  # type: ignore[arg-type]
            return PreparedVideo()

        return attempt

    def reason_after(*fates: str) -> str | None:
        return decode_row(row, "v.mp4", SMALL, decode(list(fates)))[1].reason

    assert reason_after("crash") is None
    assert reason_after("crash", "crash") == "crash"
    # somebody who kills processes at random is not the video's fault
    assert reason_after("killed", "killed") is None
    assert reason_after("killed", "crash", "killed") is None
    assert reason_after("killed", "killed", "killed") == "memory"
    assert reason_after("timeout") == "timeout"
    assert reason_after("memory") == "memory"


def test_a_video_that_kills_or_hangs_its_process_leaves_its_neighbours_unharmed(videos: Path) -> None:
    entries = []
    with Isolated(prepare_or_die, 5, 2000) as decode:
        for row in VideoList([str(videos)]):
            settings = SMALL.model_copy(update={"limits": LimitSettings(deadline_s=5)})
            entries.append(decode_row(row, row.source, settings, decode.call)[1])
    assert [entry.reason for entry in entries] == [None, "crash", "timeout", None, None]
    assert [entry.samples for entry in entries] == [1, 0, 0, 4, 5]


def test_a_large_file_has_a_longer_deadline(videos: Path, tmp_path: Path) -> None:
    big = tmp_path / "big.mp4"
    with big.open("wb") as file:
        file.truncate(3_000_000_000)
    given: list[float] = []

    def decode(deadline_s: float, row: VideoRow, settings: PrepareSettings, place: str) -> PreparedVideo:
        given.append(deadline_s)
        return PreparedVideo()

    settings = SMALL.model_copy(update={"limits": LimitSettings(deadline_s=10, deadline_s_per_gb=100)})
    decode_row(VideoRow(video="big", source="x"), str(big), settings, decode)
    assert given == [310]


def test_errors_of_a_video_cross_the_process_with_their_reason(tmp_path: Path) -> None:
    with Isolated(prepare_video, 60, 2000) as decode, pytest.raises(MediaError) as caught:
        decode(VideoRow(video="v", source=str(tmp_path / "gone.mp4")), SMALL)
    assert caught.value.reason == "missing"


def test_keys_are_plain_and_as_different_as_the_ids() -> None:
    assert key_of("test_0012-a") == "test_0012-a"
    ids = ["a b", "a.b", "a/b", "ä", "ö", "x" * 200, "x" * 201]
    keys = [key_of(name) for name in ids]
    assert len(set(keys)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,89}", key) for key in keys)


def test_the_command_says_what_went_wrong_when_nothing_came_out(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("gone.mp4\n")
    ended = gavt(str(tmp_path / "list.txt"), "--out", str(tmp_path / "out"), "--local")
    assert ended.returncode == 2
    why = f"missing (1), such as {tmp_path}/gone.mp4: no such file; see"
    assert f"gavt: {tmp_path}/out: none of 1 videos gave a sample: {why}" in ended.stderr
    assert (tmp_path / "out/ledger.jsonl").exists()


@pytest.mark.skipif(not os.environ.get("GAVT_CORPUS"), reason="GAVT_CORPUS is not set")
def test_all_decodable_files_of_the_corpus_give_samples_and_each_other_one_a_reason(tmp_path: Path) -> None:
    words = ["-s", "prepare.min_clip_s=0.1", "-s", "prepare.audio_samples=11025", "--json"]
    ended = gavt(f"{os.environ['GAVT_CORPUS']}/videos", "--out", str(tmp_path), *words)
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout.splitlines()[-1])
    ledger = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert (result["videos"], result["failed"], result["reasons"]) == (12, 7, {"no_audio": 7})
    assert {entry["video"] for entry in ledger if entry["samples"]} == {
        "decord_flipping_a_pancake",
        "energon_sync_test",
        "moviepy_big_buck_bunny_0_30",
        "moviepy_chaplin",
        "video2dataset_test_video",
    }
