"""`evaluation_sounds.json`: a few mixtures that can be listened to place by place, for the report.

{"samples": [{"mixture": MP3,
              "sounds": [{"title": "violin", "sound": MP3}],             what was mixed
              "views": [{"title": "frame of violin", "frame": JPEG,
                         "rows": 8, "columns": 8,                        places, the first row first
                         "sounds": [MP3],                                what places keep; those that keep nearly the
                                                                         same share one
                         "sound_of": [0, 0, 1, …],                       of each place its number among them
                         "kept": [0.1, …]}]}]}                           share of the mixture's energy that each keeps

MP3 and JPEG are base64. Sounds of a sample are scaled together, so that its loudest is as loud as may be.
"""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from pipeline.features.masks import Stft, resynthesise, to_linear_frequency
from pipeline.features.settings import FeatureSettings

SOUNDS = "evaluation_sounds.json"
_MOST_CELLS = 8
"""Rows, and columns, of places; finer grids are averaged."""
_MOST_SOUNDS, _FEWEST_SOUNDS, _MOST_SECONDS = 12, 4, 60
"""Of a view, all its places together: as many sounds as fit into so many seconds."""
_ALIKE = 0.01
"""Two places keep nearly the same where what they keep differs by less than this share of the mixture's energy."""
_LOUDEST = 0.9
_SIDE = 320
_MP3_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_BITS_A_SAMPLE = 3
"""Of an MP3, at the model's rate: 33 kbit/s at 11 025 Hz."""


@dataclass(frozen=True)
class View:
    """A frame whose places are to be listened to.

    Attributes:
        title: what it is.
        frame: uint8 [K, K, 3]
        masks: [h, w, F, T] in 0–1 what of the mixture each place keeps.
    """

    title: str
    frame: npt.NDArray[np.uint8]
    masks: Tensor


@dataclass(frozen=True)
class Playable:
    """A mixture as in the file.

    Attributes:
        index: where it lies in the shard set.
        written: its entry, as JSON.
    """

    index: int
    written: str


def playable_of(
    index: int,
    mixture: Tensor,
    views: Sequence[View],
    sounds: Sequence[tuple[str, Tensor]],
    features: FeatureSettings,
) -> Playable:
    """A mixture with what each place keeps of it.

    Args:
        mixture: [S] in −1..1, at the model's rate.
        sounds: title and sound [S] of each that was mixed.
    """
    stft, mixture = Stft.of(features), mixture.float().cpu()
    spectrum = stft(mixture)
    by_view = [_cells(view.masks.float().cpu().nan_to_num(), stft, spectrum) for view in views]
    taken = [_resynthesised(stft, spectrum, cells.masks, len(mixture)) for cells in by_view]
    true = [(title, sound.float().cpu()) for title, sound in sounds]
    loudest = max(float(one.abs().max()) for one in (mixture, *(sound for _, sound in true), *taken))
    scale = _LOUDEST / max(loudest, 1e-6)

    def mp3(sound: Tensor) -> str:
        return base64.b64encode(encode_mp3((sound * scale).numpy(), features.audio_rate_hz)).decode()

    entry = {
        "mixture": mp3(mixture),
        "sounds": [{"title": title, "sound": mp3(sound)} for title, sound in true],
        "views": [
            {
                "title": view.title,
                "frame": _jpeg(view.frame),
                "rows": cells.rows,
                "columns": cells.columns,
                "sounds": [mp3(one) for one in kept],
                "sound_of": cells.sound_of,
                "kept": [round(one, 4) for one in cells.kept],
            }
            for view, cells, kept in zip(views, by_view, taken, strict=True)
        ],
    }
    return Playable(index, json.dumps(entry))


def as_file(playables: Sequence[Playable], limit: int) -> bytes:
    """The file of the first of these."""
    first = sorted(playables, key=lambda one: one.index)[:limit]
    return ('{"samples": [' + ",\n".join(one.written for one in first) + "]}\n").encode()


@dataclass(frozen=True)
class _Cells:
    """Places of a view in rows and columns.

    Attributes:
        masks: [sounds, F, T], one for all places that keep nearly the same.
        sound_of: [rows · columns] which of them each has.
        kept: [rows · columns] share of the mixture's energy.
    """

    rows: int
    columns: int
    masks: Tensor
    sound_of: list[int]
    kept: list[float]


def _cells(masks: Tensor, stft: Stft, spectrum: Tensor) -> _Cells:
    """The places of masks [h, w, F, T], those that keep nearly the same of a spectrum together: from the loudest on,
    each takes all that are like it; where those are too many sounds, what counts as alike is wider."""
    rows, columns = min(masks.shape[0], _MOST_CELLS), min(masks.shape[1], _MOST_CELLS)
    flat = masks.permute(2, 3, 0, 1).flatten(0, 1)
    pooled = torch.nn.functional.adaptive_avg_pool2d(flat, (rows, columns)).flatten(1).T.reshape(-1, *masks.shape[2:])
    found = (to_linear_frequency(pooled, stft, stft, spectrum.shape[-1]) * spectrum.abs()).flatten(1)
    energy = spectrum.abs().square().sum().clamp(min=1e-12)
    kept = found.square().sum(1) / energy
    seconds = spectrum.shape[-1] * stft.hop / stft.rate_hz
    most = max(min(_MOST_SOUNDS, int(_MOST_SECONDS / seconds)), _FEWEST_SOUNDS)
    alike, sound_of = _ALIKE, torch.full((len(kept),), most)
    while int(sound_of.max()) >= most:
        sound_of = torch.full((len(kept),), -1)
        for cell in kept.argsort(descending=True).tolist():
            if sound_of[cell] < 0:
                near = (found - found[cell]).square().sum(1) / energy < alike
                sound_of[near & (sound_of < 0)] = int(sound_of.max()) + 1
        alike *= 1.5
    shared = torch.stack([pooled[sound_of == number].mean(0) for number in range(int(sound_of.max()) + 1)])
    return _Cells(rows, columns, shared, sound_of.tolist(), kept.tolist())


def _resynthesised(stft: Stft, spectrum: Tensor, masks: Tensor, samples: int) -> Tensor:
    """The sounds [sounds, S] that masks [sounds, F, T] keep."""
    linear = to_linear_frequency(masks, stft, stft, spectrum.shape[-1])
    return resynthesise(stft, spectrum, linear, samples)


def encode_mp3(sound: npt.NDArray[np.float32], rate_hz: int) -> bytes:
    """MP3 of a sound [S] in −1..1; at the next rate that MP3 knows."""
    own = next((rate for rate in _MP3_RATES_HZ if rate >= rate_hz), _MP3_RATES_HZ[-1])
    resampler = av.AudioResampler("fltp", "mono", own)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp3", container_options={"fflags": "+bitexact"}) as out:
        stream = out.add_stream("libmp3lame", rate=own, layout="mono", format="fltp")
        stream.bit_rate = _BITS_A_SAMPLE * own
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[None]), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    return buffer.getvalue()


def _jpeg(frame: npt.NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(frame).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()
