"""An image and its sound as a sample of layout `frame`, as lists of benchmarks have them.

The middle of the sound is taken, of a row with a range the middle of that, and one that is too short is repeated from
its beginning until it fills the window, as the public loaders do (EZ-VSL, AVGN; LVS repeats and takes the beginning).
The image is shown in the middle of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import numpy as np

from pipeline.errors import ManifestError, MediaError
from pipeline.prepare.layouts.describe import describe
from pipeline.prepare.layouts.sample import EncodedSample, PreparedVideo, key_of, level_dbfs
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.settings import PrepareSettings
from pipeline.reasons import Reason
from pipeline.sound.audio import Window
from pipeline.sound.flac import encode_flac
from pipeline.sound.sound import cut_at_rate, decode_sound
from pipeline.stream.squares import open_image
from pipeline.video.picture import encode_image
from pipeline.video.video_file import read_file


def check_still(row: VideoRow, settings: PrepareSettings) -> None:
    """See that the layout can show what does not move.

    Raises:
        ManifestError: it can't.
    """
    if row.sound is not None and settings.layout != "frame":
        raise ManifestError(
            f"{row.video}: expected a video for prepare.layout={settings.layout}, found an image with a sound, which "
            "is for prepare.layout=frame"
        )
    if row.sound is not None and row.keypoints is not None:
        raise ManifestError(f"{row.video}: expected keypoints of a video, found some of an image with a sound")


def make_samples(picture: str, row: VideoRow, settings: PrepareSettings) -> PreparedVideo:
    """The sample of a row with a sound; the bytes of its image lie at `picture`.

    Raises:
        MediaError: one of the two can't be had, with the reason.
    """
    assert row.sound is not None
    with _said_of("its image"):
        image = open_image(read_file(picture), settings.frame_height)
    with _said_of(f"its sound {row.sound}"):
        window = _middle_of(read_file(row.sound), row, settings)
    if settings.silence_dbfs is not None and level_dbfs(window.audio) < settings.silence_dbfs:
        raise MediaError(Reason.SILENT, f"its sound is below prepare.silence_dbfs, {settings.silence_dbfs:g} dB")
    middle_s = window.start_s + Fraction(settings.audio_samples, 2 * settings.audio_rate_hz)
    files = {
        "json": describe("frame", row, [middle_s], window, settings.audio_rate_hz),
        "jpg": encode_image(image, settings.frame_height, settings.jpeg_quality),
        "flac": encode_flac(window.audio, settings.audio_rate_hz),
    }
    return PreparedVideo([EncodedSample(f"{key_of(row.video)}_0000", files)])


def _middle_of(content: bytes, row: VideoRow, settings: PrepareSettings) -> Window:
    """The window of a row's sound.

    Raises:
        ValueError: there is no sound in it, or it is damaged.
        MediaError: it ends before the row's range begins.
    """
    assert row.sound is not None
    sound = decode_sound(content, row.sound.rpartition(".")[2].lower(), settings.channels)
    rate_hz, wanted = settings.audio_rate_hz, settings.audio_samples
    begin_s = max(sound.start_s, row.start_s or 0.0)
    end_s = sound.start_s + sound.samples_at(rate_hz) / rate_hz
    there = round((min(end_s, end_s if row.end_s is None else row.end_s) - begin_s) * rate_hz)
    if there < 1:
        raise MediaError(
            Reason.TOO_SHORT, f"expected sound from {begin_s:g} s on, where its row begins, found {end_s:.2f} s"
        )
    start_s = begin_s + max(0, there - wanted) / 2 / rate_hz
    audio = cut_at_rate(sound, start_s, min(there, wanted), rate_hz)
    return Window(Fraction(start_s), np.tile(audio, -(-wanted // audio.shape[1]))[:, :wanted])


@contextmanager
def _said_of(what: str) -> Iterator[None]:
    try:
        yield
    except MediaError as error:
        raise MediaError(error.reason, f"{what}: {error}") from error
    except ValueError as error:
        raise MediaError(Reason.UNREADABLE, f"{what}: {error}") from error
