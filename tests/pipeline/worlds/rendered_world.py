"""A small rendered world, and its videos decoded again."""

import json
from pathlib import Path

import av
import numpy as np

Pixels = np.ndarray
Waveform = np.ndarray


def rows_of(world: Path, manifest: str) -> list[dict]:
    """The rows of a manifest."""
    return [json.loads(line) for line in (world / f"{manifest}.jsonl").read_text().splitlines()]


def truth_of(world: Path, row: dict) -> dict:
    """The ground truth of a row's video."""
    return json.loads((world / row["extra"]["ground_truth"]).read_text())


def contents(world: Path) -> dict[str, bytes]:
    """All files of a world."""
    return {str(file.relative_to(world)): file.read_bytes() for file in world.rglob("*") if file.is_file()}


def pixels(video: Path) -> Pixels:
    """Frames [T, H, W, 3] of a video."""
    with av.open(str(video)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def sound(video: Path) -> tuple[Waveform, int]:
    """Sound [S] of a video in −1..1, and its rate."""
    with av.open(str(video)) as container:
        stream = container.streams.audio[0]
        return np.concatenate([f.to_ndarray()[0] for f in container.decode(stream)]), stream.rate
