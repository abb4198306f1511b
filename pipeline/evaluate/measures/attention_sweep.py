"""How well each way to read a model's attention localises: Figure 6 of the G-AVT thesis, with figures.

attention_sweep.npz    the maps of a few samples, which `pipeline.evaluate.report.attention_figure` draws:

rows      str [R]                ways to read attention, whatever they are divided by, then other readouts
priors    str [P]                what they are divided by: `none`, `silence`, `noise`
maps      float32 [n, R, P, s, s]    all of one size; NaN where a row has none
frames    uint8 [n, K, K, 3]
truths    bool [n, S, S]         what sounds, as it lies in the frames; all false where nobody knows
labels    str [n]                what sounds, joined by ", "
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.baselines.simple_maps import centre_disc, oracle_map
from pipeline.evaluate.examples import FirstOnes
from pipeline.evaluate.measures.contract import Column, Judged, Measure, Row, RowKind, Table
from pipeline.evaluate.measures.scoreboard import Scoreboard, Scores
from pipeline.evaluate.metrics.ground_truth import Mask
from pipeline.evaluate.metrics.resize import Map, resize_map
from pipeline.evaluate.readouts.attention_sweep import PRIORS, Look, looks_at, read_looks
from pipeline.evaluate.readouts.build import build_readout, reasons_against
from pipeline.evaluate.readouts.needs import needs_visual_grid
from pipeline.evaluate.registry import AttentionSweepSettings, MeasureSettings
from pipeline.evaluate.samples import Chunk, EvaluationBatch, EvaluationSamples
from pipeline.features.inputs import FRAMES, SOUND
from pipeline.train.load import Trained

SWEEP, SWEEP_MAPS, SWEEP_PICTURE = "attention_sweep", "attention_sweep.npz", "attention_sweep.png"
CENTRE, ORACLE = "centre disc", "oracle ceiling"
_COLUMNS = (Column("pointing", "pointing"), Column("ciou_adap", "cIoU_adap"), Column("iiou_adap", "IIoU_adap"))
_ABOUT = (
    "Each row is one way to read the same model’s attention: in which direction, from which layer and head, as it is, "
    "or over what it would be with silence or noise (Eq. 7)."
)
_CAPTION = (
    "Figure 6 of the G-AVT thesis for this model: columns are samples, rows are ways to read attention, as it is, over "
    "silence and over noise"
)
_FLATTERED = (
    "the best of so many rows is flattered by having been the best on these samples: choose evaluate.attention on "
    "others"
)


@dataclass(frozen=True)
class Drawn:
    """A sample with the maps of all rows."""

    index: int
    located: bool
    frame: npt.NDArray[np.uint8]
    truth: Mask
    labels: str
    maps: dict[str, Map]


@dataclass(frozen=True)
class Swept:
    """What was found in a chunk."""

    scores: Scores
    drawn: list[Drawn]


class AttentionSweep(Measure[Swept]):
    """Scores every look on the located samples; the model embeds frames once, and encodes once a prior."""

    settings: AttentionSweepSettings

    def __init__(self, settings: MeasureSettings, judged: Judged) -> None:
        super().__init__(settings, judged)
        self._evaluate, self._system = judged.settings, judged.trained.system
        self._looks = looks_at(self._system, self._evaluate.attention.epsilon)
        self._priors = [prior for prior in PRIORS if prior == "none" or SOUND in self._system.inputs]
        self._reasons = reasons_against(self.settings.beside, self._evaluate, self._system)
        self._beside = [name for name in self.settings.beside if name not in self._reasons]
        self._first = FirstOnes(self.settings.samples)

    @classmethod
    def reason_against(cls, trained: Trained, samples: EvaluationSamples) -> str | None:
        """It needs frames, and attention that reaches the visual tokens."""
        if FRAMES not in samples.inputs:
            return f"the model sees no frames, it takes {', '.join(samples.inputs)}"
        reason = needs_visual_grid(trained.system)
        if reason is None and not looks_at(trained.system, samples.settings.attention.epsilon):
            reason = "the model gives no attention between what is seen and heard, nor of a class token"
        return reason

    def judge(self, chunk: Chunk) -> Swept:
        """Scores of all rows on the samples with boxes; a few samples with their maps."""
        scores, drawn, size = Scores(), list[Drawn](), self._evaluate.batch_size
        for start in range(0, len(chunk.located), size):
            batch = chunk.judged.select(chunk.located[start : start + size])
            maps = self._maps(batch)
            board = Scoreboard(batch, self._evaluate.align_corners)
            for name, heat in maps.items():
                board.add(name, heat)
            board.add_same(CENTRE, centre_disc(self._evaluate.map_size))
            grid = next(iter(maps.values())).shape[1:]
            truths = [batch.truth_in_square(place) for place in range(len(batch))]
            board.add(ORACLE, (oracle_map(truth, (grid[0], grid[1])) for truth in truths if truth is not None))
            scores += board.scores
            drawn += self._draw(batch, maps, [place for place, one in enumerate(batch.indices) if self._first(one)])
        unlocated = [place for place, index in enumerate(chunk.shown.indices) if index < self._first.limit]
        if places := [place for place in unlocated if place not in chunk.located]:
            batch = chunk.shown.select(places)
            drawn += self._draw(batch, self._maps(batch), range(len(batch)))
        return Swept(scores, drawn)

    def _maps(self, batch: EvaluationBatch) -> dict[str, Map]:
        """[B, h, w] of all rows."""
        seed = self._evaluate.seed
        found = read_looks(self._system.model, batch.inputs, self._looks, self._priors, seed)
        found |= {name: build_readout(name, self._evaluate)(self._system, batch.inputs) for name in self._beside}
        return {name: heat.float().cpu().numpy() for name, heat in found.items()}

    def _draw(self, batch: EvaluationBatch, maps: dict[str, Map], places: Sequence[int]) -> list[Drawn]:
        drawn = []
        for place in places:
            truth, shape = batch.truth_in_square(place), (self._evaluate.map_size, self._evaluate.map_size)
            drawn.append(
                Drawn(
                    batch.indices[place],
                    truth is not None,
                    batch.middle[place].permute(1, 2, 0).cpu().numpy(),
                    np.zeros(shape, dtype=np.bool_) if truth is None else truth,
                    ", ".join(batch.metadata[place].labels),
                    {name: heat[place] for name, heat in maps.items()},
                )
            )
        return drawn

    def tables(self, found: Sequence[Swept]) -> list[Table]:
        """One, with a row for each look over each prior, and the readouts beside them."""
        scores = Scores()
        for one in found:
            scores += one.scores
        # who named none asked for those that there are
        named = self._reasons if "beside" in self.settings.model_fields_set else {}
        left_out = tuple(f"readout {name} is left out: {why}" for name, why in named.items())
        title = "ways to read attention"
        if not len(scores):
            reason = f"{self.judged.samples.url} has no boxes, so ways to read attention could not be judged"
            return [Table(SWEEP, title, _COLUMNS, (), 0, notes=(reason, *left_out))]

        def row(name: str, kind: RowKind, cost: str | None = None, look: Look | None = None) -> Row:
            figures = dict(scores.figures(name))
            values = {column.name: figures[column.name] for column in _COLUMNS}
            details = {"not_finite": figures["not_finite"]}
            read = {} if look is None else {"attention": look.settings.model_dump(mode="json")}
            return Row(name, kind, values, {}, None, cost, details | read)  # type: ignore[arg-type]  # all are floats

        rows = [
            row(look.row(prior), "readout", "1 forward" if prior == "none" else "2 forward", look)
            for look in self._looks
            for prior in self._priors
        ]
        rows += [row(name, "readout", build_readout(name, self._evaluate).cost) for name in self._beside]
        rows += [row(CENTRE, "control"), row(ORACLE, "ceiling")]
        notes, pictures = (_FLATTERED, *left_out), ((SWEEP_PICTURE, _CAPTION),)
        return [Table(SWEEP, title, _COLUMNS, tuple(rows), len(scores), _ABOUT, notes, pictures=pictures)]

    def files(self, found: Sequence[Swept]) -> dict[str, bytes]:
        """Maps of the first samples, of those with boxes before others."""
        drawn = sorted((one for chunk in found for one in chunk.drawn), key=lambda one: (not one.located, one.index))
        drawn = drawn[: self.settings.samples]
        if not drawn:
            return {}
        names = [[look.row(prior) for prior in self._priors] for look in self._looks]
        names += [[name] for name in self._beside]
        arrays = {
            "rows": np.array([*(look.name for look in self._looks), *self._beside]),
            "priors": np.array(self._priors),
            "maps": np.stack([_of_one_size(one.maps, names, len(self._priors)) for one in drawn]),
            "frames": np.stack([one.frame for one in drawn]),
            "truths": np.stack([one.truth for one in drawn]),
            "labels": np.array([one.labels for one in drawn]),
        }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        return {SWEEP_MAPS: buffer.getvalue()}


def _of_one_size(maps: dict[str, Map], names: list[list[str]], priors: int) -> Map:
    """[R, P, s, s], each map resized to the largest; NaN where there is none."""
    size = max(max(heat.shape) for heat in maps.values())
    all_rows = np.full((len(names), priors, size, size), np.nan, dtype=np.float32)
    for place, row in enumerate(names):
        for prior, name in enumerate(row):
            all_rows[place, prior] = resize_map(maps[name], size)
    return all_rows
