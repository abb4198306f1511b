"""`gavt events`: what happens in videos, when, and where."""

import io
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict

import numpy as np

from cluster import storage
from cluster.errors import StorageError
from cluster.masking import mask_url
from pipeline.errors import MediaError, of_video
from pipeline.evaluate.device import pick_device
from pipeline.evaluate.events.picture import draw_events
from pipeline.evaluate.events.track import EventTrack, tell_events, told_of
from pipeline.evaluate.overlay.video_keypoints import check_inputs
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.prepare.layouts.sample import key_of
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.manifests.sources import is_downloaded
from pipeline.reasons import Reason
from pipeline.train.load import load_trained

ROWS = "events.jsonl"
Progress = Callable[[str, float, float], None]
"""Told (which video, seconds of it done, seconds in all)."""


class WatchedVideo(TypedDict):
    """What was found in a video: files, and how many events; or the sentence why it could not be watched."""

    video: str
    source: str
    segments: int
    events: list[dict[str, Any]]
    strip: str | None
    arrays: str | None
    error: str | None


class Watched(TypedDict):
    """What was done. `failed` counts the videos that could not be watched; `label_aided` says how training used
    labels."""

    videos: list[WatchedVideo]
    failed: int
    rows: str
    checkpoint: str
    step: int
    label_aided: str | None


def watch(
    videos: Iterable[VideoRow],
    checkpoint: str,
    out: str,
    settings: EvaluateSettings,
    on_progress: Progress = lambda video, done, total: None,
) -> Watched:
    """Tell what happens in videos, second by second. Started again with the same model, it goes on with the videos that
    have no `NAME.json` yet, or have changed since. Writes into `out` (local or s3://):

        NAME.png        of each video (its id, as keys of samples have it): frames with the places that their sound
                        goes with, and what happens when
        NAME.npz        classes [C], begin_s [N] of each segment, segment_s, probabilities [N, C], square [4]; of a
                        model that tells them apart seen and heard [N, C − 1]; of one that says where maps [N, h, w],
                        rows [h] and columns [w], as `gavt localize` has them
        NAME.json       what was found in it, by which model, and in which version of the file; written behind the two
        events.jsonl    a row an event: video, source, begin_s, end_s, class, what (both, seen or heard), confidence;
                        written last

    A video that can't be watched is told, and the others go on; it is tried again when started again.

    Args:
        videos: with names of their own; each is watched whole.

    Raises:
        CheckpointError: no checkpoint there.
        SettingsError: a model that doesn't tell segments, or takes what a video doesn't show.
        StorageError: `out` can't be written to, said before the work.
    """
    storage.check_writable(out)
    trained = load_trained(checkpoint, pick_device(settings.device))
    told_of(trained)
    check_inputs(trained, None)
    known = {file.url.rsplit("/", 1)[-1] for file in storage.list_files(out)}
    made_by = {"checkpoint": trained.url, "step": trained.step, "geometry": settings.shown_geometry}
    found: list[WatchedVideo] = []
    for row in videos:

        def show(done: float, total: float, name: str = row.video) -> None:
            on_progress(name, done, total)

        name, version = key_of(row.video), _version_of(row.source)
        record = storage.join(out, f"{name}.json")
        if f"{name}.json" in known and (before := _told_before(record, row, made_by, version)) is not None:
            found.append(before)
            continue
        try:
            with of_video(row.source):
                if is_downloaded(row.source):
                    raise MediaError(Reason.MISSING, "it is an id, and gavt events downloads nothing")
                track = tell_events(row.source, trained, settings, show)
                strip = draw_events(row.source, track)
        except MediaError as error:
            found.append(_watched(row, error=str(error)))
            continue
        files = [storage.join(out, f"{name}{suffix}") for suffix in (".png", ".npz")]
        storage.write_bytes(files[0], strip)
        storage.write_bytes(files[1], _as_npz(track))
        found.append(_watched(row, len(track.segments), track.rows, *files))
        storage.write_text(record, json.dumps({**found[-1], "made_by": made_by, "version": version}))
    named = (
        {"video": video["video"], "source": video["source"]} | event for video in found for event in video["events"]
    )
    storage.write_bytes(storage.join(out, ROWS), "".join(f"{json.dumps(row)}\n" for row in named).encode())
    return Watched(
        videos=found,
        failed=sum(video["error"] is not None for video in found),
        rows=storage.join(out, ROWS),
        checkpoint=trained.url,
        step=trained.step,
        label_aided=trained.settings.task.label_aided,
    )


def _version_of(source: str) -> str | None:
    """What tells the video from another at its place; None where nothing is there."""
    try:
        return storage.version(source).etag
    except StorageError:
        return None  # who opens it finds out why


def _told_before(record: str, row: VideoRow, made_by: Mapping[str, object], version: str | None) -> WatchedVideo | None:
    """What the same model found in a video before; None where it was another one, or another video. A video that is
    gone has not changed."""
    try:
        told = json.loads(storage.read_bytes(record))
        same = told.pop("made_by") == made_by and told["source"] == mask_url(row.source)
        same &= told.pop("version") == version or version is None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StorageError(f"{record}: expected what gavt events found in a video, found something else") from None
    before: WatchedVideo = told
    return before if same else None


def _watched(
    row: VideoRow,
    segments: int = 0,
    events: list[dict[str, Any]] | None = None,
    strip: str | None = None,
    arrays: str | None = None,
    error: str | None = None,
) -> WatchedVideo:
    return WatchedVideo(
        video=row.video,
        source=mask_url(row.source),
        segments=segments,
        events=events or [],
        strip=strip,
        arrays=arrays,
        error=error,
    )


def _as_npz(track: EventTrack) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **track.arrays)
    return buffer.getvalue()
