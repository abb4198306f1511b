"""Rendering a whole world to disk or object storage, in parallel, restartable.

OUT/world.json                          settings, seed, classes, finishes kept for the test split
OUT/{train,validation,test}.jsonl       manifests for `gavt prepare`, written last
OUT/videos/{split}/{id}.mp4             H.264 + AAC
OUT/ground_truth/{split}/{id}.json      every parameter; written behind the other files of a video: it means "done"
OUT/ground_truth/{split}/{id}.png       index mask of the sounding instruments: 1 + place in the JSON's "sprites"
OUT/ground_truth/{split}/{id}_{n}.flac  stem of the n-th sounding instrument, before AAC
"""

import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any

from cluster import storage
from pipeline.errors import SynthError
from pipeline.worlds.finishes import HELD_OUT
from pipeline.worlds.instruments import INSTRUMENTS, NAMES
from pipeline.worlds.scene import SPLITS, Split, draw_scene
from pipeline.worlds.settings import SynthSettings
from pipeline.worlds.write import Row, Truth, read_truth, row_of, truth_path, video_path, write_scene

CHUNK = 20
"""Scenes that a worker does between two reports."""


@dataclass
class WorldSummary:
    """What a rendering did.

    Attributes:
        out: folder or prefix of the world.
        videos: split → videos in its manifest.
        rendered: videos rendered now.
        kept: videos that were there already.
    """

    out: str
    videos: dict[str, int] = field(default_factory=dict)
    rendered: int = 0
    kept: int = 0


@dataclass(frozen=True)
class _Chunk:
    """Scenes `first` up to `last` (not included) of a split, and which videos of the split are there already."""

    settings: SynthSettings
    out: str
    seed: int
    split: Split
    first: int
    last: int
    finished: frozenset[str]


@dataclass(frozen=True)
class _Done:
    """The rows of a chunk's videos, in order, and how many were rendered now."""

    rows: list[Row]
    rendered: int


def scene_count(settings: SynthSettings) -> int:
    """Scenes of all splits."""
    return sum(_counts(settings).values())


def render_world(
    settings: SynthSettings,
    out: str,
    seed: int,
    workers: int = 1,
    on_progress: Callable[[int], None] = lambda scenes: None,
) -> WorldSummary:
    """Render all videos that are not there yet, then the manifests.

    The result depends on the settings and the seed, not on `workers` nor on interruptions: a video is there whole or
    not at all. More scenes may be asked of an existing world, since no scene depends on how many there are.

    Args:
        settings: what to render.
        out: folder or `s3://` prefix.
        seed: everything random follows from it.
        workers: processes; 1 renders in this one.
        on_progress: called with a number of scenes each time that many more are done.

    Raises:
        SynthError: `out` holds a world of other settings or of another seed.
        StorageError: `out` can't be written.
    """
    _claim(settings, out, seed)
    chunks = [chunk for split in SPLITS for chunk in _chunks(settings, out, seed, split)]
    summary = WorldSummary(out)
    rows: dict[tuple[Split, int], list[Row]] = {}
    for chunk, done in _run(chunks, workers):
        rows[chunk.split, chunk.first] = done.rows
        summary.rendered += done.rendered
        summary.kept += len(done.rows) - done.rendered
        on_progress(chunk.last - chunk.first)
    for split in SPLITS:
        in_order = [row for chunk in chunks if chunk.split == split for row in rows[split, chunk.first]]
        lines = "".join(json.dumps(row) + "\n" for row in in_order)
        storage.write_text(storage.join(out, f"{split}.jsonl"), lines)
        summary.videos[split] = len(in_order)
    return summary


def _counts(settings: SynthSettings) -> dict[Split, int]:
    return {"train": settings.train, "validation": settings.validation, "test": settings.test}


def _claim(settings: SynthSettings, out: str, seed: int) -> None:
    """Write `world.json`, unless a world that this one can't go on with is there."""
    world = {
        "version": 1,
        "seed": seed,
        "classes": list(NAMES),
        "hues": {instrument.name: instrument.hue for instrument in INSTRUMENTS},
        "held_out": dict(zip(NAMES, HELD_OUT, strict=True)),
        "settings": settings.model_dump(mode="json"),
    }
    path = storage.join(out, "world.json")
    if storage.exists(path):
        try:
            before = json.loads(storage.read_text(path))
        except json.JSONDecodeError:
            raise SynthError(f"{path}: expected JSON that gavt synth wrote, found something else") from None
        name, old, new = _first_difference(before, world)
        if name:
            raise SynthError(
                f"{out}: holds a world with {name} = {old}, asked was {new}; give another --out or the same settings"
            )
    storage.write_text(path, json.dumps(world, indent=1) + "\n")


def _first_difference(before: Any, world: dict[str, Any]) -> tuple[str, Any, Any]:
    """Name, old and new value of the first thing that shapes the scenes and differs; an empty name if none does."""
    before = before if isinstance(before, dict) else {}
    for name in ("version", "seed", "classes", "hues", "held_out"):
        if before.get(name) != world[name]:
            return name, before.get(name), world[name]
    old_settings = before.get("settings") or {}
    for name, new in json.loads(json.dumps(world["settings"])).items():
        if name not in SPLITS and old_settings.get(name) != new:
            return f"synth.{name}", old_settings.get(name), new
    return "", None, None


def _chunks(settings: SynthSettings, out: str, seed: int, split: Split) -> Iterator[_Chunk]:
    count = _counts(settings)[split]
    finished = _finished(out, split) if count else frozenset()
    for first in range(0, count, CHUNK):
        yield _Chunk(settings, out, seed, split, first, min(first + CHUNK, count), finished)


def _finished(out: str, split: Split) -> frozenset[str]:
    """Ids of the videos that are there with their ground truth: two listings, no request a video."""
    videos = _names(storage.join(out, video_path(split, "x").rsplit("/", 1)[0]), ".mp4")
    return videos & _names(storage.join(out, truth_path(split, "x").rsplit("/", 1)[0]), ".json")


def _names(folder: str, ending: str) -> frozenset[str]:
    names = (file.url.rsplit("/", 1)[-1] for file in storage.list_files(folder) if file.size)
    return frozenset(name.removesuffix(ending) for name in names if name.endswith(ending))


def _run(chunks: Sequence[_Chunk], workers: int) -> Iterator[tuple[_Chunk, _Done]]:
    if workers <= 1 or len(chunks) <= 1:
        for chunk in chunks:
            yield chunk, _render_chunk(chunk)
        return
    # spawn: a forked child would inherit threads and connections that do not work in it
    pool = ProcessPoolExecutor(min(workers, len(chunks)), multiprocessing.get_context("spawn"), _prepare_worker)
    try:
        waiting = {pool.submit(_render_chunk, chunk): chunk for chunk in chunks}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _prepare_worker() -> None:
    """A worker leaves Ctrl-C to its parent, and ends with it even when that is killed (it would wait for ever)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel

        def end_with_parent() -> None:
            multiprocessing.connection.wait([sentinel])
            os._exit(1)

        threading.Thread(target=end_with_parent, daemon=True).start()


def _render_chunk(chunk: _Chunk) -> _Done:
    rows: list[Row] = []
    rendered = 0
    for number in range(chunk.first, chunk.last):
        scene = draw_scene(chunk.settings, chunk.seed, chunk.split, number)
        ids = [scene.video_id(variant) for variant in range(len(scene.variants))]
        truths: list[Truth | None] = [None]
        if chunk.finished.issuperset(ids):
            truths = [read_truth(chunk.out, chunk.split, video) for video in ids]
        if None in truths:
            truths = list(write_scene(scene, chunk.settings, chunk.out))
            rendered += len(truths)
        rows.extend(row_of(truth) for truth in truths if truth is not None)
    return _Done(rows, rendered)
