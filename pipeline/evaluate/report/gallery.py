"""Frames with maps beside the truth, as pictures inside the page."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.evaluate.metrics.resize import Centres
from pipeline.evaluate.overlay.overlay import lay_heat
from pipeline.evaluate.overlay.track import unit_range
from pipeline.evaluate.overlay.video_stream import Pixels

_SIDE = 200
_TRUTH = np.array([255, 255, 255], dtype=np.float32)
_WHOLE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Card:
    """One sample of the gallery; pictures are `data:` addresses.

    Attributes:
        hit: whether the map's maximum lies on what sounds; None where nobody knows what sounds.
    """

    key: str
    labels: str
    silent: str
    frame: str
    heat: str
    truth: str | None
    hit: bool | None


def make_cards(examples: Mapping[str, npt.NDArray[np.generic]]) -> list[Card]:
    """Cards of the samples in `evaluation_maps.npz`."""
    cards = []
    for place, key in enumerate(examples["keys"]):
        frame = np.array(Image.fromarray(np.asarray(examples["frames"][place], dtype=np.uint8)).resize((_SIDE, _SIDE)))
        heat = np.asarray(examples["maps"][place], dtype=np.float32)
        centres = Centres(tuple(examples["rows"][place].tolist()), tuple(examples["columns"][place].tolist()))
        truth = np.asarray(examples["truths"][place], dtype=np.bool_)
        hit = int(examples["hits"][place])
        cards.append(
            Card(
                key=str(key),
                labels=str(examples["labels"][place]),
                silent=str(examples["silent"][place]),
                frame=_as_address(frame),
                heat=_as_address(lay_heat(frame, unit_range(heat), _WHOLE, centres=centres)),
                truth=_as_address(_show_truth(frame, truth)) if hit >= 0 else None,
                hit=hit == 1 if hit >= 0 else None,
            )
        )
    return cards


def _show_truth(frame: Pixels, truth: npt.NDArray[np.bool_]) -> Pixels:
    """The frame dimmed where nothing sounds, a white line around what does."""
    mask = np.array(Image.fromarray(truth).resize((_SIDE, _SIDE), Image.Resampling.NEAREST))
    shown = np.where(mask[..., None], frame, frame * np.float32(0.3)).astype(np.float32)
    grown = mask.copy()
    for axis in (0, 1):
        for shift in (-2, 2):
            grown |= np.roll(mask, shift, axis=axis)
    shown[grown & ~mask] = _TRUTH
    return shown.astype(np.uint8)


def _as_address(pixels: Pixels) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
