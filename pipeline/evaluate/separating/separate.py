"""`gavt separate`: any video in, a sound for each place of it out."""

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import torch

from cluster import storage
from cluster.scratch import scratch_folder
from pipeline.errors import of_video
from pipeline.evaluate.device import pick_device
from pipeline.evaluate.overlay.on_screen import shown
from pipeline.evaluate.overlay.overlay_video import write_overlay_video
from pipeline.evaluate.overlay.video_keypoints import FoundKeypoints, check_inputs
from pipeline.evaluate.overlay.video_stream import Pixels
from pipeline.evaluate.separating.by_place import SoundByPlace, separator_of
from pipeline.evaluate.separating.loudness import Loudness
from pipeline.evaluate.separating.marks import mark
from pipeline.evaluate.separating.own_sound import OwnSound
from pipeline.evaluate.separating.places import REST, Place
from pipeline.evaluate.separating.sound_file import SoundFile, SoundFormat, check_format
from pipeline.evaluate.separating.strip import Spectrograms, draw_strip
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.train.load import load_trained
from pipeline.video.video_file import open_video

OVERLAY, STRIP, RESULT = "overlay.mp4", "strip.png", "separate.json"
_FRAME_ROWS = 480
Progress = Callable[[str, float, float], None]
"""Told (what is being done, seconds of video done, seconds in all)."""


class SeparatedSound(TypedDict):
    """A sound that was written.

    Attributes:
        path: where its place lies, `time_s` and `box` (x1, y1, x2, y2 in 0–1 of the upright frame; a point has no
            size); empty for what is left over.
        loudness_db: its mean, dB of full scale; None where it is silent.
        share: of the mixture's energy; 0 where that is silent.
        clipped: samples that were louder than full scale.
    """

    name: str
    file: str
    path: list[dict[str, Any]]
    loudness_db: float | None
    share: float
    clipped: int


class SeparatedVideo(TypedDict):
    """What was done, as in `separate.json`.

    Attributes:
        places: in the order in which they were asked for, or found.
        rest: what no place keeps: the mixture under 1 − the sum of the masks, not below 0.
        counted_twice: energy, beside the mixture's, of what the places together are more than it is, since their masks
            add to more than 1 there; without it places and rest add to the mixture.
        seconds: length of each sound, from the video's zero.
        square: what of the upright frame the model sees.
        window_s: of sound that the model hears at once; `windows`: how many there were.
        band_hz: what lies above it takes the mean of each mask's topmost octave, from half of it on.
    """

    places: list[SeparatedSound]
    rest: SeparatedSound
    counted_twice: float
    mixture_db: float | None
    rate_hz: int
    channels: str
    seconds: float
    overlay: str | None
    strip: str
    geometry: str
    square: list[float]
    window_s: float
    windows: int
    band_hz: float
    video: str
    checkpoint: str
    step: int


def separate(
    source: str,
    checkpoint: str,
    out: str,
    settings: EvaluateSettings,
    places: Sequence[Place] | None,
    kind: SoundFormat = "wav",
    overlay_s: float = 60.0,
    keypoints: FoundKeypoints | None = None,
    on_progress: Progress = lambda doing, done, total: None,
) -> SeparatedVideo:
    """Take apart the sound of a video by the places that it comes from. Writes into `out` (local or s3://):

        NAME.wav         the sound of each place, at the video's own rate and channels, 24 bits, from its zero on
        rest.wav         what no place keeps
        strip.png        the frame with its places, and spectrograms of the mixture and of all sounds
        overlay.mp4      the beginning of the video with its sound, the places marked, and how loud each is
        separate.json    what was done, see `SeparatedVideo`; written last

    A sound that is as long as one likes is heard in windows that overlap, each with the frames around its middle, and
    goes through without being held.

    Args:
        source: a video file, local or s3://.
        places: those that are wanted; None for those that the model finds, or for `in_sight`, all that it sees, where
            its mask is of the whole frame.
        kind: `wav` or `flac`.
        overlay_s: length of the overlay; 0 for none.
        keypoints: of the persons in the video, for a model that takes them.

    Raises:
        MediaError: the source is no video with sound, or can't be decoded.
        CheckpointError: no checkpoint there.
        SettingsError: a model that separates nothing, or not by places, or a place that it doesn't see.
        StorageError: `out` can't be written to, said before the work.
    """
    storage.check_writable(out)
    trained = load_trained(checkpoint, pick_device(settings.device))
    check_inputs(trained, keypoints)
    separator_of(trained, places)
    features = trained.settings.features
    with of_video(source):
        sound = OwnSound.of(source)
        check_format(kind, sound.channels)
        by_place = SoundByPlace.of(sound, trained, settings, places, keypoints)
        places = by_place.places
        with scratch_folder("gavt-separate-") as scratch:
            film_s = min(overlay_s, float(sound.picture_s))
            taken = _take_apart(by_place, scratch, kind, film_s, on_progress)
            if film_s:
                _write_overlay(source, places, taken.loudness, scratch / OVERLAY, film_s, on_progress)
            (scratch / STRIP).write_bytes(_drawn_strip(sound, places, taken))
            # without it nothing there counts, while files of another call are replaced
            storage.remove(storage.join(out, RESULT))
            for name in [*taken.files, *([OVERLAY] if film_s else []), STRIP]:
                storage.upload(scratch / name, storage.join(out, name))
    sounds = _sounds_of(places, taken, out)
    result = SeparatedVideo(
        places=sounds[:-1],
        rest=sounds[-1],
        counted_twice=taken.counted_twice,
        mixture_db=taken.loudness.mean_db()[0],
        rate_hz=sound.rate_hz,
        channels=sound.layout,
        seconds=float(sound.length_s),
        overlay=storage.join(out, OVERLAY) if film_s else None,
        strip=storage.join(out, STRIP),
        geometry=settings.shown_geometry,
        square=list(by_place.square),
        window_s=features.audio_samples / features.audio_rate_hz,
        windows=len(by_place.hearing.windows.starts),
        band_hz=features.audio_rate_hz / 2,
        video=source,
        checkpoint=trained.url,
        step=trained.step,
    )
    storage.write_text(storage.join(out, RESULT), json.dumps(result, indent=2, allow_nan=False) + "\n")
    return result


@dataclass(frozen=True)
class _TakenApart:
    """What is known of the sounds that were written.

    Attributes:
        files: their names; the last is what is left over.
        clipped: samples of each that were louder than full scale.
        loudness: of the mixture, then of each sound.
        counted_twice: see `SeparatedVideo`.
    """

    files: list[str]
    clipped: list[int]
    loudness: Loudness
    spectrograms: Spectrograms
    counted_twice: float


def _take_apart(
    by_place: SoundByPlace, folder: Path, kind: SoundFormat, film_s: float, on_progress: Progress
) -> _TakenApart:
    """Write the sound of each place, and what is left over, into a folder. Of the first `film_s` it is also known how
    loud they are from moment to moment."""
    sound, masking = by_place.hearing.sound, by_place.masking
    names = [place.name for place in by_place.places]
    files = [f"{name}.{kind}" for name in (*names, REST)]
    loudness = Loudness(sound.rate_hz, len(files) + 1, min(film_s, float(sound.length_s)))
    step_s = masking.hop / sound.rate_hz
    spectrograms = Spectrograms(masking.frequencies_hz, float(sound.length_s), step_s, len(files))
    power, twice, done = 0.0, 0.0, 0
    with ExitStack() as stack:
        written = [stack.enter_context(SoundFile(folder / file, kind, sound.rate_hz, sound.layout)) for file in files]
        for piece in by_place:
            for file, one in zip(written, piece.sounds.numpy(), strict=True):
                file.write(one)
            loudness.add(torch.cat([piece.mixture[None], piece.sounds]))
            spectrograms.add(piece)
            power += float(piece.power.sum())
            twice += float((piece.power * piece.twice.square()).sum())
            done += piece.mixture.shape[1]
            on_progress("separating", done / sound.rate_hz, float(sound.length_s))
    clipped = [file.clipped for file in written]
    return _TakenApart(files, clipped, loudness, spectrograms, twice / power if power else 0.0)


def _write_overlay(
    source: str, places: Sequence[Place], loudness: Loudness, target: Path, until_s: float, on_progress: Progress
) -> None:
    """The beginning of the video with its places marked."""

    def draw(pixels: Pixels, time_s: float) -> Pixels:
        return mark(pixels, places, time_s, loudness.at(time_s)[1:-1])

    write_overlay_video(source, draw, target, lambda done, total: on_progress("drawing", done, total), until_s)


def _drawn_strip(sound: OwnSound, places: Sequence[Place], taken: _TakenApart) -> bytes:
    """The strip, with the frame in the middle of the video."""
    with open_video(sound.source) as video:
        time, picture, _ = next(shown(video, [min(sound.picture_s, sound.length_s) / 2]))
        frame = picture.pixels(_FRAME_ROWS)
    return draw_strip(mark(frame, places, float(time)), taken.spectrograms, [place.name for place in places])


def _sounds_of(places: Sequence[Place], taken: _TakenApart, out: str) -> list[SeparatedSound]:
    """Of each place and of what is left over."""
    levels, totals = taken.loudness.mean_db()[1:], taken.loudness.totals()
    paths = [[{"time_s": time, "box": list(box)} for time, box in place.path] for place in places]
    return [
        SeparatedSound(
            name=name,
            file=storage.join(out, file),
            path=path,
            loudness_db=level,
            share=round(total / totals[0], 6) if totals[0] else 0.0,
            clipped=clipped,
        )
        for name, file, path, level, total, clipped in zip(
            [*(place.name for place in places), REST],
            taken.files,
            [*paths, []],
            levels,
            totals[1:],
            taken.clipped,
            strict=True,
        )
    ]
