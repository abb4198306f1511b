"""Where each segment of a video sounds: maps of models of segments, of frames or of stored features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.evaluate.baselines.simple_maps import centre_disc, oracle_map
from pipeline.evaluate.measures.contract import Column, Headline, Judged, Measure, Row, RowKind, SampleScores, Table
from pipeline.evaluate.measures.localisation import CENTRE, MODEL, ORACLE, SHUFFLED, UNTRAINED
from pipeline.evaluate.measures.other_sounds import choose_other_sounds
from pipeline.evaluate.metrics.ciou import SUCCESS, adaptive_ciou
from pipeline.evaluate.metrics.ground_truth import Mask
from pipeline.evaluate.metrics.pointing import points_at
from pipeline.evaluate.metrics.resize import Map, resize_seen
from pipeline.evaluate.readouts.needs import attention_of
from pipeline.evaluate.registry import MeasureSettings
from pipeline.evaluate.samples import Chunk, EvaluationSamples, mask_in_square
from pipeline.models.contract import AUDIO, VISUAL, AudioVisualModel, Tokens, rows_of
from pipeline.samples.metadata import Box
from pipeline.tasks.task import System
from pipeline.train.load import Trained, untrained

Figures = dict[str, float]
_ROWS: Mapping[str, RowKind] = {
    MODEL: "model",
    UNTRAINED: "control",
    SHUFFLED: "control",
    CENTRE: "control",
    ORACLE: "ceiling",
}
_LOOKED = (MODEL, UNTRAINED, SHUFFLED)
"""Rows whose maps lie over the square that the model sees."""
_WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
_GRID = ("time", "row", "column")


@dataclass(frozen=True)
class Located:
    """What was found in a chunk.

    Attributes:
        ids, videos: of the segments that have boxes.
        figures: of each row, one a segment; those with another's sound are missing where some sample has none.
    """

    ids: list[str]
    videos: list[str]
    figures: Mapping[str, list[Figures]]


class SegmentMaps(Measure[Located]):
    """By how much each segment's sound looks at what sounds in its frame, beside an untrained network, the sound of
    other samples, the centre and a perfect map. It needs no pictures, so maps over stored features are judged too."""

    name: ClassVar[str] = "segment_maps"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("pointing", "pointing"),
        Column("ciou_adap", "cIoU_adap"),
        Column("half", "of the attention in the right half"),
    )

    def __init__(self, settings: MeasureSettings, judged: Judged) -> None:
        super().__init__(settings, judged)
        self._model = judged.trained.system.model
        self._fresh = untrained(judged.trained.settings, judged.samples.device, judged.settings.seed).model
        self._size = judged.settings.map_size

    @classmethod
    def reason_against(cls, trained: Trained, samples: EvaluationSamples) -> str | None:
        """It needs one sound a segment that looks at places of frames."""
        return _reason_against(trained.system)

    @torch.no_grad()
    def judge(self, chunk: Chunk) -> Located:
        """Figures of all segments with boxes."""
        shown = chunk.shown
        truths = [
            {
                segment: mask_in_square(boxes, square, self._size)
                for segment, boxes in enumerate(one.segment_boxes or [])
                if boxes
            }
            for one, square in zip(shown.metadata, shown.squares, strict=True)
        ]
        located = [(place, segment) for place, of_sample in enumerate(truths) for segment in of_sample]
        masks = [truths[place][segment] for place, segment in located]
        grid = self._model.grids[VISUAL].shape[1:]
        maps: dict[str, list[Map]] = {
            CENTRE: [centre_disc(self._size)] * len(masks),
            ORACLE: [oracle_map(mask, (grid[0], grid[1])) for mask in masks],
        }
        if located:
            maps |= self._looked(chunk, located)
        figures = {}
        for row, found in maps.items():
            squares = [
                (0.0, 0.0, 1.0, 1.0) if row in (CENTRE, ORACLE) else shown.squares[place] for place, _ in located
            ]
            laid = [
                resize_seen(heat, square, self._size, self.judged.settings.align_corners)
                for heat, square in zip(found, squares, strict=True)
            ]
            figures[row] = [_figures(heat, mask) for heat, mask in zip(laid, masks, strict=True)]
        ids = [f"{shown.keys[place]} segment {segment}" for place, segment in located]
        return Located(ids, [shown.metadata[place].video for place, _ in located], figures)

    def tables(self, found: Sequence[Located]) -> list[Table]:
        """One."""
        title = "where each segment sounds"
        scores = self.sample_scores(found)
        if not scores:
            return [Table(self.name, title, self.columns, (), 0, notes=("no sample has boxes of its segments",))]
        rows = tuple(Row(row, _ROWS[row], dict(scores[0].figures(row))) for row in _ROWS if row in scores[0].values)
        pointing = {row.name: row.values["pointing"] for row in rows}
        beside = tuple((name, value) for name, value in pointing.items() if name != MODEL)
        headline = Headline("segments pointed at", pointing[MODEL] or 0.0, "share", beside)
        notes = [
            "maps are the attention of each segment’s sound to the places of its frame, mean over heads of the last "
            "layer; a whole frame is taken to lie under stored features, so those of its middle square are judged "
            "rightly where frames are square"
        ]
        if SHUFFLED not in pointing:
            notes.append("shuffled audio is left out: for some samples there is no sound of other labels")
        return [
            Table(self.name, title, self.columns, rows, len(scores[0].ids), notes=tuple(notes), headlines=(headline,))
        ]  # fmt: skip

    def sample_scores(self, found: Sequence[Located]) -> list[SampleScores]:
        """Of all rows, one a segment."""
        ids = [name for one in found for name in one.ids]
        videos = [video for one in found for video in one.videos]
        if not ids:
            return []
        values = {}
        for row in _ROWS:
            figures = [figures for one in found for figures in one.figures.get(row, [])]
            if len(figures) == len(ids):
                columns = {column.name: [one[column.name] for one in figures] for column in self.columns}
                values[row] = {name: np.array(column, dtype=np.float64) for name, column in columns.items()}
        return [SampleScores(self.name, ids, videos, values)]

    def _looked(self, chunk: Chunk, located: Sequence[tuple[int, int]]) -> dict[str, list[Map]]:
        """Maps [h, w] of the model, without training and with the sound of others."""
        own = self._embedded(self._model, chunk)
        looked = {
            MODEL: self._maps(self._model, own),
            UNTRAINED: self._maps(self._fresh, self._embedded(self._fresh, chunk)),
        }
        others = choose_other_sounds(chunk.shown.metadata)
        known = [other for other in others if other is not None]
        if len(known) == len(others):
            rows = torch.tensor(known, device=own[AUDIO].device)
            looked[SHUFFLED] = self._maps(self._model, rows_of(own, {AUDIO: rows}))
        return {row: [of_all[place, segment] for place, segment in located] for row, of_all in looked.items()}

    def _embedded(self, model: AudioVisualModel, chunk: Chunk) -> Tokens:
        pieces = chunk.shown.pieces(self.judged.settings.batch_size)
        parts = [model.embed(chunk.shown.select(places).inputs) for places in pieces]
        return {name: torch.cat([part[name] for part in parts]) for name in (VISUAL, AUDIO)}

    def _maps(self, model: AudioVisualModel, embedded: Tokens) -> npt.NDArray[np.float32]:
        """[B, T, h, w]"""
        size, found = self.judged.settings.batch_size, []
        for start in range(0, len(embedded[AUDIO]), size):
            piece = {name: tokens[start : start + size] for name, tokens in embedded.items()}
            found.append(_own_frames(model, piece).float().cpu().numpy())
        return np.concatenate(found)


def _own_frames(model: AudioVisualModel, embedded: Tokens) -> Tensor:
    """[B, T, h, w] what each segment's sound looks at in its own frame."""
    last = model.attention_layers - 1
    attention = model.fuse(embedded, attention=[last]).attention
    between = None if attention is None else attention.between(AUDIO, VISUAL)
    assert between is not None  # else there is a reason against it
    looks = between[last].whole().mean(1)  # [B, T, T·h·w]
    frames = model.grids[VISUAL].laid_out(looks.transpose(1, 2))  # [B, T, h, w, T]
    return frames.diagonal(dim1=1, dim2=4).movedim(-1, 1)


def _figures(heat: Map, mask: Mask) -> Figures:
    """Of a map [S, S] over what is judged."""
    middle = mask.shape[1] // 2
    weights = np.clip(heat, 0, None)
    left, whole = float(weights[:, :middle].sum()), float(weights.sum())
    in_left = left / whole if whole else 0.5
    on_left = mask[:, :middle].sum() > mask[:, middle:].sum()
    return {
        "pointing": float(points_at(heat, mask)),
        "ciou_adap": float(adaptive_ciou(heat, mask) >= SUCCESS),
        "half": in_left if on_left else 1 - in_left,
    }


def _reason_against(system: System) -> str | None:
    grids = system.model.grids
    seen, heard = grids.get(VISUAL), grids.get(AUDIO)
    lying = f"it needs {VISUAL} tokens that lie by {', '.join(_GRID)}, and one of {AUDIO} for each of their times"
    if seen is None or heard is None or seen.names != _GRID or heard.names != _GRID[:1] or seen.summaries:
        return lying
    if heard.shape[0] != seen.shape[0] or heard.count != heard.shape[0]:
        return lying
    attention = attention_of(system)
    if attention is None or attention.between(AUDIO, VISUAL) is None:
        return f"the model gives no attention of {AUDIO} to {VISUAL} tokens"
    return None
