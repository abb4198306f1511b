"""Writing videos with their ground truth, and reading that again."""

import json

from cluster import storage
from pipeline.worlds.contract import RenderedVideo, Truth


def video_path(split: str, video: str) -> str:
    """Place of a video in the world's folder."""
    return f"videos/{split}/{video}.mp4"


def truth_path(split: str, name: str) -> str:
    """Place of a file of the ground truth in the world's folder; a video's own is `ID.json`."""
    return f"ground_truth/{split}/{name}"


def write_video(rendered: RenderedVideo, out: str) -> None:
    """Write a video; its JSON last, behind its other files."""
    video, split = rendered.truth["id"], rendered.truth["split"]
    _write(out, video_path(split, video), rendered.mp4)
    for name, content in rendered.beside.items():
        _write(out, truth_path(split, name), content)
    _write(out, truth_path(split, f"{video}.json"), json.dumps(rendered.truth).encode())


def read_truth(out: str, split: str, video: str) -> Truth | None:
    """The ground truth that an earlier run wrote; None where it is torn (a power cut) and must be made again."""
    try:
        truth = json.loads(storage.read_text(storage.join(out, truth_path(split, f"{video}.json"))))
    except json.JSONDecodeError:
        return None
    return truth if isinstance(truth, dict) else None


def _write(out: str, path: str, content: bytes) -> None:
    # a world can be rendered again: waiting for the disk at every small file would halve the speed
    storage.write_bytes(storage.join(out, path), content, durable=False)
