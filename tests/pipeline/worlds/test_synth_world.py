import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from rendered_world import contents, pixels, rows_of, sound

from cluster import storage
from cluster.errors import StorageError
from jobs.cli import main
from pipeline.errors import SynthError
from pipeline.sound.flac import decode_flac
from pipeline.worlds.sound import mix
from pipeline.worlds.timbre_scenes.scene import draw_scene
from pipeline.worlds.timbre_scenes.settings import TimbreScenesSettings
from pipeline.worlds.timbre_scenes.world import picture_of
from pipeline.worlds.world import render_world

SETTINGS = TimbreScenesSettings(train=24, validation=3, test=4)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synth") / "world"
    summary = render_world(SETTINGS, str(folder), seed=11)
    assert summary.videos == {"train": 24, "validation": 6, "test": 8}
    assert (summary.rendered, summary.kept) == (38, 0)
    return folder


def test_videos_hold_both_streams_for_the_whole_duration(world: Path) -> None:
    for row in [*rows_of(world, "train")[:4], *rows_of(world, "test")]:
        with av.open(str(world / row["source"])) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
            assert video.codec_context.pix_fmt == "yuv420p"
            frames = [frame.time for frame in container.decode(video)]
        assert frames == [number / 8 for number in range(16)]
        heard, rate = sound(world / row["source"])
        assert rate == 22050
        assert 2.0 <= len(heard) / rate <= 2.0 + 2 * 1024 / rate


def test_no_second_passes_without_a_key_frame(world: Path) -> None:
    with av.open(str(world / rows_of(world, "train")[0]["source"])) as container:
        keys = [float(p.pts * p.time_base) for p in container.demux(video=0) if p.is_keyframe and p.pts is not None]
    assert keys == [0.0, 1.0]


def test_decoded_pixels_show_the_drawn_picture(world: Path) -> None:
    scene = draw_scene(SETTINGS, 11, "train", 2)
    drawn = picture_of(scene, 128).image.astype(float)
    shown = pixels(world / "videos/train/train_000002.mp4").astype(float)
    assert np.abs(shown.mean(axis=0) - drawn).mean() < 6
    assert not np.array_equal(shown[0], shown[1])  # sensor noise


def test_a_group_shows_the_same_pixels_and_different_sounds(world: Path) -> None:
    test = rows_of(world, "test")
    for one, two in zip(test[::2], test[1::2], strict=True):
        assert one["group"] == two["group"] == one["video"][:-1]
        assert one["visible"] == two["visible"]
        assert not set(one["labels"]) & set(two["labels"])
        np.testing.assert_array_equal(pixels(world / one["source"]), pixels(world / two["source"]))
        assert not np.array_equal(sound(world / one["source"])[0], sound(world / two["source"])[0])


def test_manifest_rows_agree_with_ground_truth_masks_and_stems(world: Path) -> None:
    for row in [*rows_of(world, "train"), *rows_of(world, "validation"), *rows_of(world, "test")]:
        truth_file = world / row["extra"]["ground_truth"]
        truth = json.loads(truth_file.read_text())
        assert set(row["labels"]) <= set(row["visible"])
        assert len(row["boxes"]) == len(row["labels"]) == len(truth["sounding"])
        assert ("group" in row) == (row["split"] != "train")
        picture = Image.open(truth_file.parent / truth["mask"])
        assert picture.mode == "P"  # to be told apart by eye; the numbers are the indices
        mask = np.array(picture)
        assert set(np.unique(mask)) == {0} | {source["sprite"] + 1 for source in truth["sounding"]}
        for source, box in zip(truth["sounding"], row["boxes"], strict=True):
            ys, xs = np.nonzero(mask == source["sprite"] + 1)
            tight = [xs.min() / 128, ys.min() / 128, (xs.max() + 1) / 128, (ys.max() + 1) / 128]
            assert box == pytest.approx(tight, abs=1e-6)


def test_the_heard_sound_is_the_sum_of_the_stems(world: Path) -> None:
    for row in rows_of(world, "test"):
        truth_file = world / row["extra"]["ground_truth"]
        names = [source["stem"] for source in json.loads(truth_file.read_text())["sounding"]]
        stems = np.concatenate([decode_flac((truth_file.parent / name).read_bytes())[0] for name in names])
        mixture = mix(stems).astype(float) / 32768
        heard = sound(world / row["source"])[0][: len(mixture)]
        assert np.corrcoef(heard, mixture)[0, 1] > 0.98  # AAC changes it a little, and shifts it not at all


def test_same_seed_same_bytes_whatever_the_workers(world: Path, tmp_path: Path) -> None:
    render_world(SETTINGS, str(tmp_path / "again"), seed=11, workers=2)
    assert contents(tmp_path / "again") == contents(world)
    render_world(SETTINGS.model_copy(update={"train": 2}), str(tmp_path / "other"), seed=12)
    assert rows_of(tmp_path / "other", "train") != rows_of(world, "train")[:2]


def test_a_started_world_is_completed_and_ends_with_the_same_bytes(world: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / "world")
    render_world(SETTINGS.model_copy(update={"train": 10}), folder, seed=11)
    (tmp_path / "world/videos/train/train_000003.mp4").unlink()
    (tmp_path / "world/ground_truth/train/train_000004.json").write_text('{"version": 1, "sprit')
    (tmp_path / "world/ground_truth/test/test_000001b.json").unlink()
    summary = render_world(SETTINGS, folder, seed=11)
    assert (summary.rendered, summary.kept) == (14 + 2 + 2, 8 + 6 + 6)
    assert contents(tmp_path / "world") == contents(world)


def test_killed_while_rendering_it_goes_on_and_leaves_no_worker_behind(tmp_path: Path) -> None:
    sizes = ["--set", "synth.train=200", "--set", "synth.validation=0", "--set", "synth.test=0"]
    command = [sys.executable, "-m", "jobs.cli", "synth", "--out", str(tmp_path / "world"), "--workers", "2", *sizes]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    videos = tmp_path / "world/videos/train"
    _wait_until(lambda: videos.exists() and len(list(videos.glob("*.mp4"))) > 5)
    workers = _children(process.pid)
    assert len(workers) >= 2
    process.kill()
    process.wait()
    _wait_until(lambda: not any(_alive(worker) for worker in workers))
    assert not (tmp_path / "world/train.jsonl").exists()
    few = TimbreScenesSettings(train=20, validation=0, test=0)
    assert render_world(few, str(tmp_path / "world"), seed=0).kept > 0
    render_world(few, str(tmp_path / "undisturbed"), seed=0)
    begun, undisturbed = contents(tmp_path / "world"), contents(tmp_path / "undisturbed")
    assert {name: begun[name] for name in undisturbed} == undisturbed


def _wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _alive(process: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False


def test_a_folder_with_another_world_is_refused(world: Path) -> None:
    with pytest.raises(SynthError, match=r"world: holds a world with seed = 11, asked was 12"):
        render_world(SETTINGS, str(world), seed=12)
    with pytest.raises(SynthError, match=r"synth.difficulty = easy, asked was hard"):
        render_world(SETTINGS.model_copy(update={"difficulty": "hard"}), str(world), seed=11)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(StorageError, match=r"file/"):
        render_world(SETTINGS, str(tmp_path / "file"), seed=0)


def test_stems_and_masks_can_be_left_out_of_training(tmp_path: Path) -> None:
    few = TimbreScenesSettings(train=1, validation=0, test=1, stems="test")
    render_world(few, str(tmp_path), seed=0)
    assert [file.name for file in (tmp_path / "ground_truth/train").iterdir()] == ["train_000000.json"]
    assert len(list((tmp_path / "ground_truth/test").glob("*.flac"))) >= 2
    assert (tmp_path / "validation.jsonl").read_bytes() == b""


def test_other_sizes_rates_and_variants_are_rendered(tmp_path: Path) -> None:
    wide = TimbreScenesSettings(
        train=0,
        validation=0,
        test=1,
        frame_size=64,
        fps=25,
        duration_s=1.5,
        audio_rate_hz=44100,
        variants_per_test_scene=3,
    )
    render_world(wide, str(tmp_path), seed=0)
    found = rows_of(tmp_path, "test")
    assert [row["video"] for row in found] == ["test_000000a", "test_000000b", "test_000000c"]
    assert pixels(tmp_path / found[0]["source"]).shape == (38, 64, 64, 3)
    assert sound(tmp_path / found[2]["source"])[1] == 44100


def test_the_verb_renders_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "w")
    sizes = ["--set", "synth.train=2", "--set", "synth.validation=0", "--set", "synth.test=1"]
    main_code(["synth", "--out", out, "--difficulty", "hard", "--seed", "4", "--workers", "1", *sizes, "--json"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["videos"] == {"train": 2, "validation": 0, "test": 2}
    known = json.loads((tmp_path / "w/world.json").read_text())
    assert (known["seed"], known["settings"]["difficulty"]) == (4, "hard")
    assert known["held_out"]["accordion"] == "plain"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--difficulty", "medium"], "synth.difficulty: expected 'easy' or 'hard', found 'medium'"),
        (["--set", "synth.trian=3"], "did you mean 'train'?"),
        (["--set", "synth.fps=0"], "synth.fps: expected"),
        (["--set", "synth.min_size=0.5"], "min_size <= max_size"),
    ],
)
def test_wrong_settings_end_with_one_sentence(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main_code(["synth", "--out", str(tmp_path / "w"), *words]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not (tmp_path / "w").exists()


def main_code(words: list[str]) -> int:
    with pytest.raises(SystemExit) as end:
        main(words)
    return int(end.value.code or 0)


def test_a_world_on_object_storage_is_the_local_one_and_goes_on_there(s3_bucket: str, tmp_path: Path) -> None:
    few = TimbreScenesSettings(train=2, validation=0, test=1)
    render_world(few, str(tmp_path), seed=2)
    render_world(few.model_copy(update={"train": 1}), f"{s3_bucket}/deep/world", seed=2)
    summary = render_world(few, f"{s3_bucket}/deep/world", seed=2, workers=2)
    assert (summary.rendered, summary.kept) == (1, 3)
    there = {file.url: storage.read_bytes(file.url) for file in storage.list_files(f"{s3_bucket}/deep/world")}
    assert there == {f"{s3_bucket}/deep/world/{name}": content for name, content in contents(tmp_path).items()}
