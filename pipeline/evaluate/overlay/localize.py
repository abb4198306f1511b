"""`gavt localize`: any video in, the same video with a heat map out."""

import io
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

import numpy as np

from cluster import storage
from cluster.scratch import scratch_folder
from pipeline.errors import CheckpointError, SettingsError, of_video
from pipeline.evaluate.device import pick_device
from pipeline.evaluate.metrics.resize import Centres
from pipeline.evaluate.overlay.overlay import lay_heat
from pipeline.evaluate.overlay.overlay_video import Draw, write_overlay_video
from pipeline.evaluate.overlay.strip import draw_strip
from pipeline.evaluate.overlay.track import MapTrack, make_track
from pipeline.evaluate.overlay.video_keypoints import FoundKeypoints, check_inputs
from pipeline.evaluate.overlay.video_stream import Pixels
from pipeline.evaluate.readouts.build import build_readout, default_readout, placements
from pipeline.evaluate.readouts.readout import Readout
from pipeline.evaluate.registry import readout_name
from pipeline.evaluate.result import EVALUATION, chosen_readout, placement_of
from pipeline.evaluate.run_files import run_folder
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.train.load import Trained, load_trained

OVERLAY, STRIP, MAPS = "overlay.mp4", "strip.png", "maps.npz"
FAINTEST = 0.25
"""Opacity that is left of the heat where the model finds that sound and frame don't belong together."""
Progress = Callable[[str, float, float], None]
"""Told (what is being done, seconds of video done, seconds in all)."""


class Localized(TypedDict):
    """What was written: full paths, and how the maps were made. `not_finite` counts the maps with NaN or infinite
    values, which show no heat; `sound_repeated` that the video has less sound than the model hears at once, so that it
    was repeated; `label_aided` says how training used labels, where it did."""

    overlay: str
    strip: str
    maps: str
    moments: int
    not_finite: int
    sound_repeated: bool
    readout: str
    checkpoint: str
    step: int
    label_aided: str | None


def localize(
    source: str,
    checkpoint: str,
    out: str,
    settings: EvaluateSettings,
    every_s: float = 0.5,
    readout: str | None = None,
    keypoints: FoundKeypoints | None = None,
    on_progress: Progress = lambda doing, done, total: None,
) -> Localized:
    """Show where a video's sound comes from. Writes into `out` (local or s3://):

        overlay.mp4    the video with its sound and the heat map over it (H.264, AAC)
        strip.png      up to eight moments side by side
        maps.npz       maps [T, h, w] float32, times_s [T], match [T] (probability that sound and frame belong
                       together), sound_s [N, 2] (begin and end of each stretch of sound: where there is none, there
                       is no map, and the overlay shows the frame alone), square [4] (where in the upright frame the
                       maps lie, x1 y1 x2 y2 in 0–1, beyond it where evaluate.geometry=letterbox has bars), rows [h] and
                       columns [w] (where in the square the maps' values lie, in 0–1 of it), readout

    Args:
        source: a video file, local or s3://.
        every_s: seconds between two maps; between them they are blended.
        readout: its name; by default the one that `gavt evaluate` chose for this run, else integrated gradients, or
            the first of the settings' that can be had where they can't.
        keypoints: of the persons in the video, for a model that takes them.

    Raises:
        MediaError: the source is no video with sound, or can't be decoded, or its keypoints can't be read.
        CheckpointError: no checkpoint there.
        SettingsError: no such readout, one whose maps don't lie over the frame, or a model that takes what a video
            doesn't show.
        StorageError: `out` can't be written to, said before the work.
    """
    storage.check_writable(out)
    trained = load_trained(checkpoint, pick_device(settings.device))
    with of_video(source):
        track, name = map_video(source, trained, settings, every_s, readout, keypoints, on_progress)
        with scratch_folder("gavt-localize-") as scratch:
            film = scratch / OVERLAY
            write_overlay_video(
                source, _with_heat(track), film, lambda done, total: on_progress("drawing", done, total)
            )
            storage.upload(film, storage.join(out, OVERLAY))
        storage.write_bytes(storage.join(out, STRIP), draw_strip(source, track))
    storage.write_bytes(storage.join(out, MAPS), _as_npz(track, name))
    return Localized(
        overlay=storage.join(out, OVERLAY),
        strip=storage.join(out, STRIP),
        maps=storage.join(out, MAPS),
        moments=len(track.times_s),
        not_finite=track.not_finite,
        sound_repeated=track.sound_repeated,
        readout=name,
        checkpoint=trained.url,
        step=trained.step,
        label_aided=trained.settings.task.label_aided,
    )


def map_video(
    source: str,
    trained: Trained,
    settings: EvaluateSettings,
    every_s: float = 0.5,
    readout: str | None = None,
    keypoints: FoundKeypoints | None = None,
    on_progress: Progress = lambda doing, done, total: None,
) -> tuple[MapTrack, str]:
    """The maps of a video, and the name of the readout that made them, see `localize`.

    Raises:
        MediaError, SettingsError: as of `localize`.
    """
    name, maker = video_readout(trained, settings, readout, keypoints)
    track = make_track(
        source,
        trained.system,
        trained.settings.features,
        maker,
        every_s,
        trained.device,
        settings.shown_geometry,
        lambda done, total: on_progress("mapping", done, total),
        _centres(maker, trained, settings),
        keypoints,
    )
    return track, name


def video_readout(
    trained: Trained,
    settings: EvaluateSettings,
    readout: str | None = None,
    keypoints: FoundKeypoints | None = None,
) -> tuple[str, Readout]:
    """What makes the maps of a video, and its name, see `localize`.

    Raises:
        SettingsError: no such readout, one whose maps don't lie over the frame, or a model that takes what a video
            doesn't show.
    """
    check_inputs(trained, keypoints)
    name = _choose_readout(readout, trained, settings)
    maker = build_readout(name, settings)
    if (reason := maker.reason_against(trained.system)) is not None:
        raise SettingsError(f"readout: expected one that can be had, but {name} can't: {reason}")
    if not maker.points_into_frame:
        raise SettingsError(
            f"evaluate.attention.perspective: expected visual for the readout {name}, whose maps would lie over the "
            "spectrogram, found audio"
        )
    return name, maker


def _choose_readout(asked: str | None, trained: Trained, settings: EvaluateSettings) -> str:
    if asked is not None:
        return readout_name(asked, "readout")
    evaluation, found = _evaluation(trained)
    chosen = chosen_readout(found)
    if chosen is None:
        return default_readout(settings, trained.system)
    if not isinstance(chosen, str):
        raise CheckpointError(f"{evaluation}: expected the name of a readout in its tables, found {chosen!r}")
    return readout_name(chosen, evaluation)


def _centres(readout: Readout, trained: Trained, settings: EvaluateSettings) -> Centres | None:
    """Where the values of its maps lie: as `gavt evaluate` found for this run, where it was left to it."""
    _, found = _evaluation(trained)
    may = placements(readout, trained.system, settings)
    return may.get(placement_of(found, readout.name), next(iter(may.values())))


def _evaluation(trained: Trained) -> tuple[str, Mapping[str, Any]]:
    """Where the evaluation of the run lies, and what is in it; nothing before there is one."""
    url = storage.join(run_folder(trained.url), EVALUATION)
    return url, storage.read_json(url) if storage.exists(url) else {}


def _with_heat(track: MapTrack) -> Draw:
    """Draws the map of each time; it is fainter where the model doubts that sound and frame belong together, and where
    there is no sound there is none."""

    def draw(pixels: Pixels, time_s: float) -> Pixels:
        heat = track.heat(time_s)
        if heat is None:
            return pixels
        strength = FAINTEST + (1 - FAINTEST) * track.match_at(time_s)
        return lay_heat(pixels, heat, track.square, strength, track.centres)

    return draw


def _as_npz(track: MapTrack, readout: str) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, readout=np.array(readout), **track.arrays)
    return buffer.getvalue()
