"""How well what is hidden of frames and sounds is rebuilt, with a picture of it."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pipeline.evaluate.examples import FirstOnes
from pipeline.evaluate.measures.contract import Column, Headline, Judged, Measure, Row, RowKind, SampleScores, Table
from pipeline.evaluate.readouts.needs import needs_objective
from pipeline.evaluate.registry import MeasureSettings
from pipeline.evaluate.samples import Chunk, EvaluationBatch, EvaluationSamples
from pipeline.models.contract import AUDIO, VISUAL, Images, TokenGrid, Tokens
from pipeline.tasks.hidden_cells import cells_of, hidden_of, image_of, tokens_at
from pipeline.tasks.masked_modelling import MaskedModelling
from pipeline.tasks.task import Targets, objective
from pipeline.train.load import Trained

PICTURE = "evaluation_reconstruction.png"
_SHOWN = 8
_SIDE, _GAP, _HEAD = 112, 6, 22
_HEADS = ("frame", "visible", "rebuilt", "sound", "visible", "rebuilt")
_INK, _PAPER, _UNSEEN = (60, 60, 67), 255, 0.6
_OTHER, _MEAN, _NEAREST = "the other modality is another sample's", "mean of what is visible", "nearest visible cell"
_ROWS: tuple[tuple[str, RowKind], ...] = (
    ("model", "model"),
    (_OTHER, "control"),
    (_NEAREST, "control"),
    (_MEAN, "control"),
)
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Rebuilt:
    """What was found in a chunk.

    Attributes:
        keys, videos: of the samples whose hidden cells were rebuilt.
        errors: by row [B, 2], of each sample the mean squared error of frame and of sound.
        pictures: by its index in the set, a sample's pictures [h, w, 3] side by side.
    """

    keys: list[str]
    videos: list[str]
    errors: dict[str, npt.NDArray[np.float64]]
    pictures: dict[int, Pixels]


class Reconstruction(Measure[Rebuilt]):
    """The error of the hidden cells, as the loss has it, beside that of who has no model. What is hidden of a sample is
    drawn by its place in the set."""

    def __init__(self, settings: MeasureSettings, judged: Judged) -> None:
        super().__init__(settings, judged)
        task = objective(judged.trained.system.task, MaskedModelling)
        assert task is not None  # else there is a reason against it
        self._task, self._model, self._first = task, judged.trained.system.model, FirstOnes(_SHOWN)

    @classmethod
    def reason_against(cls, trained: Trained, samples: EvaluationSamples) -> str | None:
        """It needs a decoder."""
        return needs_objective(trained.system, MaskedModelling, "masked modelling")

    @torch.no_grad()
    def judge(self, chunk: Chunk) -> Rebuilt:
        """Errors of a chunk, in which each sample meets the other modality of its neighbour too."""
        errors: dict[str, list[Tensor]] = {}
        pictures: dict[int, Pixels] = {}
        strangers = chunk.shown.select([*range(1, len(chunk)), 0]).inputs
        for places in chunk.shown.pieces(self.judged.settings.batch_size):
            batch = chunk.shown.select(places)
            other = {name: values[places.start : places.stop] for name, values in strangers.items()}
            device = batch.inputs["frames"].device
            targets = self._task.targets(self.judged.settings.seed, batch.indices, batch.metadata, "validation")
            targets = {name: target.to(device) for name, target in targets.items()}
            images, rebuilt = self._model.images(batch.inputs), self._rebuild(batch.inputs, targets)
            seen = self._rebuild(batch.inputs | {"sound": other["sound"]}, targets)[VISUAL]
            heard = self._rebuild(batch.inputs | {"frames": other["frames"]}, targets)[AUDIO]
            found = self._errors(images, targets, {"model": rebuilt, _OTHER: {VISUAL: seen, AUDIO: heard}})
            for row, of_row in found.items():
                errors.setdefault(row, []).append(of_row)
            for place, index in enumerate(batch.indices):
                if self._first(index):
                    pictures[index] = self._picture(batch, place, images, rebuilt, targets)
        videos = [metadata.video for metadata in chunk.shown.metadata]
        of_samples = {row: torch.cat(pieces).numpy() for row, pieces in errors.items()}
        return Rebuilt(chunk.shown.keys, videos, of_samples, pictures)

    def _rebuild(self, inputs: dict[str, Tensor], targets: Targets) -> Tokens:
        return self._task.rebuild(self._model, inputs, targets)

    def _errors(self, images: Images, targets: Targets, rows: dict[str, Tokens]) -> dict[str, Tensor]:
        """By row [B, 2], the errors of frame and sound."""
        errors: dict[str, list[Tensor]] = {}
        for name in (VISUAL, AUDIO):
            grid, cells = self._task.hidings[name].grid, self._task.wanted(images, name)
            hidden = hidden_of(targets[name], grid.count)
            answers = {row: tokens[name].float() for row, tokens in rows.items()}
            answers[_NEAREST] = tokens_at(cells, nearest_visible(hidden, grid))
            answers[_MEAN] = self._task.mean_of_visible(cells, hidden)
            for row, answer in answers.items():
                error = (answer - cells).square().mean(2) * hidden
                errors.setdefault(row, []).append((error.sum(1) / hidden.sum(1)).double().cpu())
        return {row: torch.stack(both, 1) for row, both in errors.items()}

    def _picture(self, batch: EvaluationBatch, place: int, images: Images, rebuilt: Tokens, targets: Targets) -> Pixels:
        """Frame and spectrogram of a sample, what is visible of each, and what becomes of it."""
        shown = []
        frames = batch.inputs["frames"][place : place + 1]
        dark, bright = (self._model.images({"frames": torch.full_like(frames, level)})[VISUAL] for level in (0, 1))
        for name in (VISUAL, AUDIO):
            grid, image = self._task.hidings[name].grid, images[name][place : place + 1].float()
            low, high = (dark, bright) if name == VISUAL else (image.amin(), image.amax())
            hidden = hidden_of(targets[name][place : place + 1], grid.count)[:, :, None]
            cells, answer = cells_of(image, grid), rebuilt[name][place : place + 1].float()
            if self._task.settings.normalised:  # its level and spread are not the model's to say
                spread, level = torch.std_mean(cells, 2, keepdim=True, correction=0)
                answer = answer * spread + level
            whole = torch.where(hidden > 0, answer, cells)
            for one in (cells, torch.where(hidden > 0, torch.nan, cells), whole):
                scaled = (image_of(one, grid, image) - low) / (high - low).clamp(min=1e-6)
                shown.append(_as_pixels(scaled.clamp(0, 1).nan_to_num(_UNSEEN)[0], name))
        return np.concatenate([np.pad(one, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=_PAPER) for one in shown], 1)

    def tables(self, found: Sequence[Rebuilt]) -> list[Table]:
        """One, of frames and sounds."""
        (scores,) = self.sample_scores(found)
        rows = [Row(row, kind, scores.figures(row)) for row, kind in _ROWS]
        of_mean = {row.name: row.values for row in rows}
        headlines = []
        for name, what in (("visual", "frame"), ("audio", "sound")):
            error, guessed = of_mean["model"][name], of_mean[_MEAN][name]
            if error is not None and guessed:
                beside = (("predicting the mean", 0.0),)
                headlines.append(Headline(f"hidden {what} rebuilt", 1 - error / guessed, "share", beside))
        task = self._task.settings
        unit = "each cell less its own mean, over its own deviation" if task.normalised else "frames and spectrograms"
        notes = (
            f"mean squared error of the hidden cells ({task.visual_masked:.0%} of a frame's, {task.audio_masked:.0%} "
            f"of a sound's), in the units of {unit}",
            "in the picture, a rebuilt cell has the level and spread of the true one" if task.normalised else "",
        )
        columns = (
            Column("visual", "error, frame", "number", higher_is_better=False),
            Column("audio", "error, sound", "number", higher_is_better=False),
        )
        return [
            Table(
                "reconstruction",
                "hidden parts rebuilt",
                columns,
                tuple(rows),
                len(scores.ids),
                notes=tuple(filter(None, notes)),
                headlines=tuple(headlines),
                pictures=((PICTURE, "what is seen and heard, what of it is visible, and what the model makes of it"),),
            )
        ]

    def sample_scores(self, found: Sequence[Rebuilt]) -> list[SampleScores]:
        """Of each sample the errors of its frame and its sound."""
        keys, videos = ([name for one in found for name in getattr(one, names)] for names in ("keys", "videos"))
        errors = {row: np.concatenate([one.errors[row] for one in found]) for row, _ in _ROWS}
        values = {row: {"visual": of_row[:, 0], "audio": of_row[:, 1]} for row, of_row in errors.items()}
        return [SampleScores("reconstruction", keys, videos, values)]

    def files(self, found: Sequence[Rebuilt]) -> dict[str, bytes]:
        """The picture of the first samples."""
        pictures = {index: picture for one in found for index, picture in one.pictures.items()}
        rows = np.concatenate([pictures[index] for index in sorted(pictures)[:_SHOWN]])
        page = Image.fromarray(np.pad(rows, ((_HEAD, 0), (_GAP, 0), (0, 0)), constant_values=_PAPER))
        draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=13)
        for place, head in enumerate(_HEADS):
            draw.text((_GAP + place * (_SIDE + _GAP), _HEAD / 2), head, fill=_INK, font=font, anchor="lm")
        buffer = io.BytesIO()
        page.save(buffer, "PNG", optimize=True)
        return {PICTURE: buffer.getvalue()}


def nearest_visible(hidden: Tensor, grid: TokenGrid) -> Tensor:
    """Of each token [B, N] the visible one that lies nearest, by places of the grid; of several as near the first."""
    axes = [torch.arange(length, device=hidden.device) for length in grid.shape]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2).float()
    apart = torch.cdist(places, places)
    return (apart[None] + hidden[:, None, :] * apart.max() * 2).argmin(2)


def _as_pixels(image: Tensor, name: str) -> Pixels:
    """The middle frame, or a spectrogram with its lowest frequency below, of an image [T, C, H, W] in 0–1."""
    one = image[len(image) // 2]
    one = one if name == VISUAL else one.flip(1).expand(3, -1, -1)
    pixels = (one * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return np.array(Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.NEAREST))
