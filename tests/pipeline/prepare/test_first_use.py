"""Whoever prepares a public set of short clips with the defaults gets samples of them, or is told which setting is in
the way."""

import io
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from PIL import Image

from barcode_video import read_barcode, write_video
from jobs.cli import main
from listed_rows import ListedRows
from pipeline.errors import MediaError
from pipeline.experiment import ExperimentSettings
from pipeline.prepare.manifests.options import ListOptions
from pipeline.prepare.manifests.read import VideoList
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.prepare import in_this_process, prepare
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.video_samples import prepare_video
from pipeline.settings.load import load_settings
from pipeline.shards.ledger import read_ledger

IDS = ("---g-f_I2yQ", "glLQrEijrKg", "zpWuikVorYg")
FPS = 25


@pytest.fixture(scope="module")
def ten_s(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 10 s, as those of VGGSound, AudioSet, AVE and Kinetics are."""
    return write_video(tmp_path_factory.mktemp("clips") / "ten.mp4", 10, fps=FPS)


@pytest.fixture(scope="module")
def minute(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The video that such a part is cut from."""
    return write_video(tmp_path_factory.mktemp("clips") / "minute.mp4", 45, fps=FPS)


def samples_of(out: str) -> list[dict[str, Any]]:
    """JSON, and the numbers that the frames carry, of each sample."""
    found = []
    for sample in webdataset.WebDataset(
        sorted(map(str, Path(out).glob("*.tar"))), shardshuffle=False, empty_check=False
    ):
        with Image.open(io.BytesIO(sample["jpg"])) as image:
            found.append({**json.loads(sample["json"]), "number": read_barcode(np.array(image.convert("RGB")))})
    return found


def prepared(rows: Sequence[VideoRow], out: Path, settings: PrepareSettings | None = None) -> list[dict[str, Any]]:
    prepare(ListedRows(list(rows)), str(out), settings or PrepareSettings(), in_this_process)
    return samples_of(str(out))


def test_the_readme_s_vggsound_example_gives_samples(ten_s: Path, tmp_path: Path) -> None:
    for number, youtube in enumerate(IDS):
        shutil.copy(ten_s, tmp_path / f"{youtube}_{number * 30:06d}.mp4")
    listed = tmp_path / "vggsound.csv"
    splits = ("train", "train", "test")
    lines = [f'{IDS[n]},{n * 30},"people marching",{split}' for n, split in enumerate(splits)]
    listed.write_text("\n".join(lines))
    words = ["--source", f"{tmp_path}/{{youtube}}_{{start:06d}}.mp4", "--split", "train", "--local"]
    with pytest.raises(SystemExit) as left:
        main(["prepare", str(listed), *words, "--out", str(tmp_path / "out")])
    assert left.value.code == 0
    found = samples_of(str(tmp_path / "out"))
    assert {sample["video"] for sample in found} == {f"{IDS[0]}_000000", f"{IDS[1]}_000030"}
    assert len(found) >= 2
    assert all(sample["labels"] == ["people marching"] for sample in found)


def listed(folder: Path, name: str, text: str, source: str) -> list[VideoRow]:
    path = folder / name
    path.write_text(text)
    return list(VideoList([str(path)], ListOptions(source=source)))


VGGSS = f'[{{"file": "{IDS[1]}_000030", "class": "bell", "bbox": [[0.1, 0.2, 0.6, 0.75]]}}]'


@pytest.mark.parametrize("choice", ["keyframe", "exact"])
@pytest.mark.parametrize("cut", [True, False])
def test_vggss_takes_the_middle_frame_of_the_part_alone(
    choice: str, cut: bool, ten_s: Path, minute: Path, tmp_path: Path
) -> None:
    source = str(ten_s.with_name("{video}.mp4") if cut else minute.with_name("{youtube}.mp4"))
    shutil.copy(ten_s if cut else minute, source.format(video=f"{IDS[1]}_000030", youtube=IDS[1]))
    rows = listed(tmp_path, "vggss.json", VGGSS, source)
    (sample,) = prepared(rows, tmp_path / "out", PrepareSettings(frame_choice=choice))
    middle_s = 5 if cut else 35
    assert sample["number"] == middle_s * FPS
    assert sample["frame_times_s"] == [middle_s]
    assert sample["boxes"] == [[0.1, 0.2, 0.6, 0.75]]
    assert sample["audio_start_s"] + 65535 / 11025 / 2 == pytest.approx(middle_s, abs=1e-3)


@pytest.mark.parametrize(
    ("layout", "located"),
    [
        ({"layout": "clip", "clip_s": 2.0}, [True]),  # one clip of the part, which shows it
        ({"layout": "segments", "segments": 5, "segment_s": 2.0}, [True]),
        ({"layout": "segments", "segments": 10, "segment_s": 1.0}, [False]),  # no frame of them is the middle one
    ],
)
def test_boxes_of_one_frame_are_not_those_of_others(layout: dict[str, Any], located: list[bool], minute: Path) -> None:
    row = VideoRow("v", str(minute), start_s=30, end_s=40, boxes=((0, 0, 1, 1),), frame_s=35)
    found = prepare_video(row, PrepareSettings(**layout)).samples
    assert [json.loads(sample.files["json"])["boxes"] is not None for sample in found] == located
    several = VideoRow("v", str(minute), boxes=((0, 0, 1, 1),), frame_s=5)
    clips = prepare_video(several, PrepareSettings(layout="clip", clip_s=4.0, max_clip_s=12)).samples
    assert [json.loads(sample.files["json"])["boxes"] for sample in clips] == [None] * 3  # they lie from 16.5 s on


def test_an_annotated_frame_that_is_not_there_is_told(ten_s: Path) -> None:
    row = VideoRow("v", str(ten_s), boxes=((0, 0, 1, 1),), frame_s=12.0)
    with pytest.raises(MediaError, match=r"expected a video that reaches 12 s, where its annotated frame is, found 10"):
        prepare_video(row, PrepareSettings())


@pytest.mark.parametrize(
    ("name", "text", "cut"),
    [
        ("eval_segments.csv", f'{IDS[1]}, 30.000, 40.000, "/m/09x0r,/t/dd00088"', False),
        ("eval_segments.csv", f'{IDS[1]}, 30.000, 40.000, "/m/09x0r,/t/dd00088"', True),
        ("kinetics.csv", f"label,youtube_id,time_start,time_end,split\nsinging,{IDS[1]},30,40,test", False),
        ("kinetics.csv", f"label,youtube_id,time_start,time_end,split\nsinging,{IDS[1]},30,40,test", True),
        ("Annotations.txt", f"Church bell&{IDS[1]}&good&2&7", True),
    ],
)
def test_ranges_of_lists_are_used(name: str, text: str, cut: bool, ten_s: Path, minute: Path, tmp_path: Path) -> None:
    video = IDS[1] if name == "Annotations.txt" else f"{IDS[1]}_000030"
    source = str(ten_s.with_name("{video}.mp4") if cut else minute.with_name("{youtube}.mp4"))
    shutil.copy(ten_s if cut else minute, source.format(video=video, youtube=IDS[1]))
    found = prepared(listed(tmp_path, name, text, source), tmp_path / "out", PrepareSettings(frame_choice="exact"))
    begin = 0 if cut else 30
    assert found
    for sample in found:
        assert begin <= sample["frame_times_s"][0] <= begin + 10
        assert sample["number"] == round(sample["frame_times_s"][0] * FPS)


@pytest.mark.parametrize(
    "recipe", ["ave", "look_listen_attend", "music200k", "music_moments", "tribert", "../experiments/quickstart"]
)
def test_every_recipe_says_what_it_makes_of_ten_seconds(recipe: str, ten_s: Path) -> None:
    settings = load_settings(f"configs/data/{recipe}.yaml", ExperimentSettings).settings.prepare
    assert settings.min_clip_s is not None
    row = VideoRow("v", str(ten_s))
    if recipe == "music200k":
        with pytest.raises(MediaError, match=r"expected 15 s or more, as prepare\.min_clip_s asks, found 10\.0"):
            prepare_video(row, settings)
    else:
        assert len(prepare_video(row, settings).samples) == 1


def test_a_folder_of_short_clips_gives_samples_and_says_whose_sound_is_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (clips := tmp_path / "clips").mkdir()
    for length_s in (1, 3, 6):
        write_video(clips / f"of_{length_s}_s.mp4", length_s)
    with pytest.raises(SystemExit) as left:
        main(["prepare", str(clips), "--out", str(tmp_path / "out"), "--local"])
    assert left.value.code == 0
    assert re.search(r"repeated +2 +less sound than a sample holds.*prepare\.short_sound", capsys.readouterr().out)
    found = {sample["video"]: sample for sample in samples_of(str(tmp_path / "out"))}
    assert sorted(found) == ["of_1_s", "of_3_s", "of_6_s"]
    for sample in (found["of_1_s"], found["of_3_s"]):  # the frame's own sound lies in the middle
        assert sample["audio_start_s"] + 65535 / 11025 / 2 == pytest.approx(sample["frame_times_s"][0], abs=0.06)
    assert {entry.video: entry.sound_repeated for entry in read_ledger(str(tmp_path / "out"))} == {
        "of_1_s": True, "of_3_s": True, "of_6_s": False,
    }  # fmt: skip


def test_what_refuses_a_short_video_names_its_setting(tmp_path: Path) -> None:
    short = VideoRow("v", str(write_video(tmp_path / "b.mp4", 3)))
    refuse = PrepareSettings(short_sound="refuse")
    with pytest.raises(MediaError, match=r"5\.94 s .*as prepare\.short_sound=refuse asks, found 3\.0"):
        prepare_video(short, refuse)
    assert len(prepare_video(short, PrepareSettings(short_sound="refuse", audio_samples=22050)).samples) == 1
    still = VideoRow("v", str(write_video(tmp_path / "c.mp4", 0.2, audio=np.full((1, 8 * 44100), 0.1, np.float32))))
    with pytest.raises(
        MediaError, match=r"expected 5\.94 s of picture or more, as prepare\.audio_samples asks.*found 0"
    ):
        prepare_video(still, PrepareSettings())
    still = VideoRow("v", str(write_video(tmp_path / "d.mp4", 0.2, audio=np.full((1, 3 * 44100), 0.1, np.float32))))
    with pytest.raises(MediaError, match=r"expected 3\.00 s of picture or more, as its sound lasts, found 0"):
        prepare_video(still, PrepareSettings())


def test_a_set_that_gives_nothing_names_the_setting_in_its_ledger(ten_s: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert not prepared([VideoRow("v", str(ten_s))], out, PrepareSettings(min_clip_s=15))
    (entry,) = read_ledger(str(out))
    assert entry.reason == "too_short"
    assert "prepare.min_clip_s asks" in str(entry.message)
