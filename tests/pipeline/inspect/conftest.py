"""Fixtures of the tests of preparation."""

import shutil
from pathlib import Path

import pytest
from inspected import RECIPES

from barcode_video import write_video
from listed_rows import ListedRows
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.prepare import in_this_process, prepare


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a shard set of each layout: two shards of two videos, and one with a video that is missing."""
    videos = tmp_path_factory.mktemp("videos")
    rows = []
    for number in range(4):
        path = write_video(videos / f"video{number}.mp4", 3.1 + 0.1 * number)
        labels, split = (("dog", "<i>bark</i>") if number % 2 else ("cat",)), ("test" if number == 3 else "train")
        seconds = (("dog",), (), ("dog",)) if number % 2 else None
        rows.append(VideoRow(f"video{number}", str(path), labels=labels, split=split, segment_labels=seconds))
    rows.append(VideoRow("gone", str(videos / "gone.mp4")))
    folder = tmp_path_factory.mktemp("shards")
    for layout, settings in RECIPES.items():
        prepare(ListedRows(rows), str(folder / layout), settings, in_this_process)
    return folder


@pytest.fixture
def shards(prepared: Path, tmp_path: Path) -> Path:
    """A shard set of layout `frame` that may be damaged."""
    return Path(shutil.copytree(prepared / "frame", tmp_path / "frame"))
