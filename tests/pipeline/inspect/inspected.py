"""Shard sets looked at, checked and damaged."""

from pathlib import Path
from typing import Any

from pipeline.inspect.contents import read_contents
from pipeline.inspect.summary import ShardSetSummary, summarise
from pipeline.inspect.verify import Verified
from pipeline.prepare.settings import PrepareSettings
from pipeline.shards.shard_files import read_indexes

SMALL = {"min_clip_s": 1, "rows_per_shard": 2, "frame_height": 120}
RECIPES = {
    "frame": PrepareSettings(frame_rate_hz=1, audio_samples=11025, **SMALL),
    "clip": PrepareSettings(layout="clip", clip_s=1.5, clip_fps=25, audio_rate_hz=21000, channels=2, **SMALL),
    "segments": PrepareSettings(layout="segments", segments=3, **SMALL),
}


def look(url: Path | str, most_samples: int | None = 500) -> ShardSetSummary:
    return summarise(read_contents(str(url)), most_samples, 0)


def places_of(folder: Path, number: int) -> list[Any]:
    (index,) = read_indexes(str(folder), [number])
    return index.samples


def said(verified: Verified) -> list[str]:
    return [str(problem) for problem in verified.problems]


def damage(path: Path, place: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(content)


def flip(path: Path, place: int) -> None:
    content = path.read_bytes()
    damage(path, place, bytes([content[place] ^ 4]))
