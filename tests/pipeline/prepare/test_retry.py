"""Failed videos are taken up again, and what they then give is what an undisturbed run would have given."""

import hashlib
import shutil
from pathlib import Path

import pytest

from barcode_video import write_video
from cluster import storage
from pipeline.errors import SettingsError
from pipeline.prepare.manifests.read import VideoList
from pipeline.prepare.prepare import in_this_process, prepare
from pipeline.prepare.settings import PrepareSettings
from pipeline.shards import shard_files as shard_module
from pipeline.shards.ledger import read_ledger, reasons_to_retry

SETTINGS = PrepareSettings(min_clip_s=1, frame_rate_hz=1, audio_samples=11025, rows_per_shard=3)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number in range(5):
        write_video(folder / f"{number}.mp4", 2 + number % 2)
    (folder / "list.txt").write_text("".join(f"{number}.mp4\n" for number in range(5)))
    return folder


def tars(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.tar"))}


@pytest.fixture
def with_two_missing(videos: Path, tmp_path: Path) -> tuple[VideoList, Path, Path]:
    """A list, its videos' folder without two of them, and the shard set made of it."""
    here = tmp_path / "videos"
    shutil.copytree(videos, here)
    for number in (1, 3):
        (here / f"{number}.mp4").unlink()
    listed = VideoList([str(here / "list.txt")])
    dataset = prepare(listed, str(tmp_path / "out"), SETTINGS, in_this_process)
    assert dataset.reasons == {"missing": 2}
    return listed, here, tmp_path / "out"


def bring_back(videos: Path, here: Path, *numbers: int) -> None:
    for number in numbers:
        shutil.copy(videos / f"{number}.mp4", here / f"{number}.mp4")


def test_a_retried_video_stands_where_it_would_have_stood(
    with_two_missing: tuple[VideoList, Path, Path], videos: Path, tmp_path: Path
) -> None:
    listed, here, out = with_two_missing
    bring_back(videos, here, 1, 3)
    dataset = prepare(listed, str(out), SETTINGS, in_this_process, retry=frozenset({"missing"}))
    assert (dataset.failed, dataset.samples) == (0, 1 + 2 + 1 + 2 + 1)
    again = tmp_path / "again"
    prepare(listed, str(again), SETTINGS, in_this_process)
    assert tars(out) == tars(again)
    assert [entry.attempts for entry in read_ledger(str(out))] == [1, 2, 1, 2, 1]
    assert not list(out.glob("*.new"))


def test_only_the_asked_for_reasons_are_taken_up_and_the_list_is_not_needed(
    with_two_missing: tuple[VideoList, Path, Path], videos: Path
) -> None:
    _, here, out = with_two_missing
    bring_back(videos, here, 1)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    prepare(None, str(out), SETTINGS, in_this_process, retry=reasons_to_retry(["transient"]))
    # nothing of what failed passes with time, so nothing is written
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    dataset = prepare(None, str(out), SETTINGS, in_this_process, retry=reasons_to_retry(["all"]))
    assert dataset.reasons == {"missing": 1}
    assert [entry.attempts for entry in read_ledger(str(out))] == [1, 2, 1, 2, 1]


@pytest.mark.parametrize("call", range(6))
def test_killed_while_a_shard_is_replaced_it_is_the_old_one_or_the_new_one(
    call: int,
    with_two_missing: tuple[VideoList, Path, Path],
    videos: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    listed, here, out = with_two_missing
    bring_back(videos, here, 1, 3)
    calls = 0

    class Killed(BaseException):
        """What SIGKILL would do: nothing more happens."""

    def dying(real):  # type: ignore[no-untyped-def]
        def step(*arguments, **named):  # type: ignore[no-untyped-def]
            nonlocal calls
            if any("shard-" in str(word) for word in arguments[:2]):
                if calls == call:
                    raise Killed
                calls += 1
            return real(*arguments, **named)

        return step

    with monkeypatch.context() as patch:
        for name in ("upload", "write_text", "remove"):
            patch.setattr(shard_module.storage, name, dying(getattr(storage, name)))
        with pytest.raises(Killed):
            prepare(listed, str(out), SETTINGS, in_this_process, retry=frozenset({"missing"}))
    assert not (out / "dataset.json").exists()
    dataset = prepare(listed, str(out), SETTINGS, in_this_process, retry=frozenset({"missing"}))
    assert dataset.failed == 0
    again = tmp_path / "again"
    prepare(listed, str(again), SETTINGS, in_this_process)
    assert tars(out) == tars(again)
    assert not list(out.glob("*.new"))
    for number, shard in enumerate(dataset.shards):
        assert shard.sha256 == tars(out)[f"shard-{number:06d}.tar"]


def test_an_unknown_word_is_one_sentence() -> None:
    with pytest.raises(SettingsError, match=r"--retry: expected transient, all or one of .*, found 'time-out'; did"):
        reasons_to_retry(["time-out"])
    assert reasons_to_retry(["transient"]) == {"unreachable", "timeout", "memory", "crash"}
