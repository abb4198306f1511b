"""The grid of frames and maps that shows during training what a model looks at.

RUN/maps/step-0000001200.png    for a few validation samples from all over the set, always the same: the frame
                                with a line around what sounds, the map over it, and the labels below
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cluster.process_group import ProcessGroup
from pipeline.evaluate.metrics.resize import Centres
from pipeline.evaluate.overlay.overlay import lay_heat
from pipeline.evaluate.overlay.track import unit_range
from pipeline.evaluate.readouts.build import build_readout, default_readout, placements
from pipeline.evaluate.samples import EvaluationBatch, EvaluationSamples
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.train.load import untrained
from pipeline.train.metric_names import MAPS
from pipeline.train.records.metrics_log import Record
from pipeline.train.run_settings import RunSettings

_SAMPLES, _COLUMNS = 8, 4
_SIDE, _SPLIT, _GAP, _CAPTION = 160, 4, 14, 22
_WHOLE = (0.0, 0.0, 1.0, 1.0)
_INK, _PAPER, _TRUTH = (60, 60, 67), (255, 255, 255), (255, 255, 255)
_LETTERS = 44
"""About what fits below two pictures."""


class MapGrid:
    """Draws the grid of a run. Its maps are those of the readout that `gavt localize` takes by default.

    The main process builds the model once more for it, in float32, and needs the memory for that.
    """

    def __init__(self, settings: RunSettings, evaluate: EvaluateSettings, run: Path, group: ProcessGroup) -> None:
        self._settings, self._evaluate, self._run, self._group = settings, evaluate, run, group
        self._batch: EvaluationBatch | None = None

    def draw(self, weights: dict[str, Tensor], step: int) -> Record:
        """Draw the grid of a model with these weights, on the main process."""
        device, settings = self._group.device, self._settings
        if self._batch is None:
            assert settings.data.validation is not None
            whole = self._evaluate.model_copy(update={"max_samples": None})
            samples = EvaluationSamples.open(settings.data.validation, settings, whole, device)
            self._batch = samples.read(range(min(_SAMPLES, len(samples)))).shown  # they lie in a shuffled order
        model = untrained(settings, device, settings.seed)
        model.load_state_dict(weights)
        readout = build_readout(default_readout(self._evaluate, model), self._evaluate)
        centres = next(iter(placements(readout, model, self._evaluate).values()))
        heat = readout(model, self._batch.inputs).detach().float().cpu().numpy()
        file = self._run / "maps" / f"step-{step:010d}.png"
        file.parent.mkdir(exist_ok=True)
        draw_grid(self._batch, heat, centres).save(file, optimize=True)
        return {"step": step, MAPS: str(file.relative_to(self._run))}


def draw_grid(batch: EvaluationBatch, heat: npt.NDArray[np.float32], centres: Centres | None = None) -> Image.Image:
    """Samples with their maps [B, h, w] in rows of four; `centres` are where the maps' values lie."""
    count = len(batch.keys)
    columns, rows = min(_COLUMNS, count), -(-count // _COLUMNS)
    width, height = 2 * _SIDE + _SPLIT, _SIDE + _CAPTION
    page = Image.new("RGB", (columns * width + (columns + 1) * _GAP, rows * height + _GAP), _PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=13)
    for place in range(count):
        left = _GAP + (place % _COLUMNS) * (width + _GAP)
        top = _GAP + (place // _COLUMNS) * height
        pixels = batch.middle[place].permute(1, 2, 0).cpu().numpy()
        frame = np.array(Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))
        truth = batch.truth_in_square(place)
        page.paste(Image.fromarray(frame if truth is None else _outline(frame, truth)), (left, top))
        laid = lay_heat(frame, unit_range(heat[place]), _WHOLE, centres=centres)
        page.paste(Image.fromarray(laid), (left + _SIDE + _SPLIT, top))
        caption = ", ".join(batch.metadata[place].labels) or batch.keys[place]
        if len(caption) > _LETTERS:
            caption = caption[: _LETTERS - 1] + "…"
        draw.text((left, top + _SIDE + _CAPTION / 2), caption, fill=_INK, font=font, anchor="lm")
    return page


def _outline(frame: npt.NDArray[np.uint8], truth: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """The frame with a line, two pixels wide, around a mask of any size."""
    mask = np.array(Image.fromarray(truth).resize((_SIDE, _SIDE), Image.Resampling.NEAREST))
    inner = mask.copy()
    for axis in (0, 1):
        for shift in (-2, 2):
            inner &= np.roll(mask, shift, axis=axis)
    drawn: npt.NDArray[np.uint8] = frame.copy()
    drawn[mask & ~inner] = _TRUTH
    return drawn
