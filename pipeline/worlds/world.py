"""Rendering a whole world to disk or object storage, in parallel, restartable.

OUT/world.json                          kind of world, settings, seed, what the kind says of itself
OUT/{train,validation,test}.jsonl       manifests for `gavt prepare`, written last; a kind may have others
OUT/videos/{split}/{id}.mp4             H.264 + AAC
OUT/ground_truth/{split}/{id}.json      every parameter; written behind the other files of a video: it means "done"
OUT/ground_truth/{split}/…              other files of the ground truth, which the kind's `world.py` lists
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
from pipeline.worlds.contract import Row, Truth, World
from pipeline.worlds.settings import SPLITS, WORLDS, Split, WorldSettings
from pipeline.worlds.write import read_truth, truth_path, video_path, write_video

WORLD_FILE = "world.json"
CHUNK = 20
"""Scenes that a worker does between two reports."""


@dataclass
class WorldSummary:
    """What a rendering did.

    Attributes:
        out: folder or prefix of the world.
        videos: manifest → videos in it.
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

    settings: WorldSettings
    out: str
    seed: int
    split: Split
    first: int
    last: int
    finished: frozenset[str]


@dataclass(frozen=True)
class _Done:
    """The rows of a chunk's videos, in order and each with its manifest, and how many were rendered now."""

    rows: list[tuple[str, Row]]
    rendered: int


def render_world(
    settings: WorldSettings,
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
    world = open_world(settings, seed)
    _claim(world, settings, out)
    chunks = [chunk for split in SPLITS for chunk in _chunks(settings, out, seed, split)]
    summary = WorldSummary(out)
    rows: dict[tuple[Split, int], list[tuple[str, Row]]] = {}
    for chunk, done in _run(chunks, workers):
        rows[chunk.split, chunk.first] = done.rows
        summary.rendered += done.rendered
        summary.kept += len(done.rows) - done.rendered
        on_progress(chunk.last - chunk.first)
    in_order = [row for chunk in chunks for row in rows[chunk.split, chunk.first]]
    for manifest in world.manifests:
        lines = [json.dumps(row) + "\n" for name, row in in_order if name == manifest]
        storage.write_text(storage.join(out, f"{manifest}.jsonl"), "".join(lines))
        summary.videos[manifest] = len(lines)
    return summary


def open_world(settings: WorldSettings, seed: int) -> World[Any]:
    """The world of these settings."""
    world: World[Any] = WORLDS.part_of(settings)(settings, seed)
    return world


def _claim(world: World[Any], settings: WorldSettings, out: str) -> None:
    """Write `world.json`, unless a world that this one can't go on with is there."""
    asked = {"version": 1, "seed": world.seed, **world.facts, "settings": settings.model_dump(mode="json")}
    path = storage.join(out, WORLD_FILE)
    if storage.exists(path):
        name, old, new = _first_difference(read_world(out), json.loads(json.dumps(asked)))
        if name:
            raise SynthError(
                f"{out}: holds a world with {name} = {old}, asked was {new}; give another --out or the same settings"
            )
    storage.write_text(path, json.dumps(asked, indent=1) + "\n")


def read_world(out: str) -> dict[str, Any]:
    """What `world.json` says.

    Raises:
        SynthError: it is none that `gavt synth` wrote.
        StorageError: there is none.
    """
    path = storage.join(out, WORLD_FILE)
    try:
        found = json.loads(storage.read_text(path))
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("settings"), dict):
        raise SynthError(f"{path}: expected JSON that gavt synth wrote, found something else")
    return found


def _first_difference(before: dict[str, Any], asked: dict[str, Any]) -> tuple[str, Any, Any]:
    """Name, old and new value of the first thing that shapes the scenes and differs; an empty name if none does."""
    told, new_settings = before["settings"], asked["settings"]
    if told.get("kind") != new_settings["kind"]:
        return "synth.kind", told.get("kind"), new_settings["kind"]
    for name in asked:
        if name != "settings" and before.get(name) != asked[name]:
            return name, before.get(name), asked[name]
    for name, new in new_settings.items():
        if name not in SPLITS and told.get(name) != new:
            return f"synth.{name}", told.get(name), new
    return "", None, None


def _chunks(settings: WorldSettings, out: str, seed: int, split: Split) -> Iterator[_Chunk]:
    count = settings.scenes[split]
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
    world = open_world(chunk.settings, chunk.seed)
    rows: list[tuple[str, Row]] = []
    rendered = 0
    for number in range(chunk.first, chunk.last):
        ids = world.video_ids(chunk.split, number)
        truths: list[Truth | None] = [None]
        if chunk.finished.issuperset(ids):
            truths = [read_truth(chunk.out, chunk.split, video) for video in ids]
        if None in truths:
            truths = []
            for video in world.render(chunk.split, number):
                write_video(video, chunk.out)
                truths.append(video.truth)
            rendered += len(truths)
        rows += [(world.manifest_of(truth), _row(world, truth)) for truth in truths if truth is not None]
    return _Done(rows, rendered)


def _row(world: World[Any], truth: Truth) -> Row:
    video, split = truth["id"], truth["split"]
    return {
        "video": video,
        "source": video_path(split, video),
        "split": split,
        **world.row_of(truth),
        **({} if truth.get("group") is None else {"group": truth["group"]}),
        "extra": {"ground_truth": truth_path(split, f"{video}.json")},
    }
