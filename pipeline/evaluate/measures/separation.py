"""Is a sound taken out of a mixture by what is seen? Mixtures of two samples, judged as sounds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.evaluate.examples import FirstOnes
from pipeline.evaluate.measures.contract import Column, Headline, Judged, Measure, Row, RowKind, SampleScores, Table
from pipeline.evaluate.measures.side_by_side import side_by_side, weights_in_half
from pipeline.evaluate.metrics.bss_eval import bss_eval
from pipeline.evaluate.metrics.ground_truth import crop_boxes
from pipeline.evaluate.metrics.statistics import MeanOfRatios, Statistic
from pipeline.evaluate.playable import SOUNDS, Playable, View, as_file, playable_of
from pipeline.evaluate.readouts.needs import needs_input, needs_objective
from pipeline.evaluate.registry import MeasureSettings
from pipeline.evaluate.samples import Chunk, EvaluationBatch, EvaluationSamples
from pipeline.evaluate.token_weights import token_weights
from pipeline.features.inputs import FRAMES, SOUND
from pipeline.features.masks import Stft, ideal_binary_mask, ideal_ratio_mask, resynthesise, to_linear_frequency
from pipeline.features.si_sdr import si_sdr
from pipeline.models.contract import VISUAL, Inputs
from pipeline.samples.metadata import Box, SampleMetadata
from pipeline.stream.fields.keypoints import KeypointsSettings
from pipeline.tasks.ceiling import shows_all
from pipeline.tasks.mix_and_separate import MixAndSeparate
from pipeline.tasks.mixing import draw_mixtures
from pipeline.tasks.pairing import draw_one, same_scene
from pipeline.tasks.task import objective
from pipeline.train.load import Trained

FRAME, CLICK, MIXTURE, WRONG = "model", "click on the source", "the mixture itself", "a wrong frame"
CLEAR, BLANK = "the other not in sight", "no frame"
WRONG_POSE, NO_POSE, POSE_ALONE = "the frame with a wrong pose", "the frame without a pose", "the pose without a frame"
DUET, CROSSED = "two in one frame, by place", "two in one frame, the other's place"
BINARY, RATIO = "ideal binary mask", "ideal ratio mask"
_ROWS: dict[str, RowKind] = {
    FRAME: "model",
    CLEAR: "readout",
    CLICK: "readout",
    DUET: "readout",
    POSE_ALONE: "readout",
    WRONG: "control",
    BLANK: "control",
    WRONG_POSE: "control",
    NO_POSE: "control",
    CROSSED: "control",
    MIXTURE: "control",
    BINARY: "ceiling",
    RATIO: "ceiling",
}
_COLUMNS = (
    Column("gain", "SI-SDR gain", "dB"),
    Column("share", "of the ideal mask's"),
    Column("sdr", "SDR", "dB"),
    Column("sir", "SIR", "dB"),
    Column("sar", "SAR", "dB"),
    Column("sounds", "sounds", "number", None),
)
_SILENT = 1e-5
"""A sound whose samples add up to no more is silent, as BSS eval's users have it."""
_ABOUT = (
    "Two samples' sounds are added, and each is sought again: by its frame, or by the place of the frame where it "
    "sounds. SI-SDR gain is how much nearer the sound came to the truth than the mixture is; SDR, SIR and SAR are "
    "those of BSS eval. With two in one frame both frames stand side by side in one, and a sound is sought by the "
    "click, or where there is none by its half. No mask of this resolution can pass the ideal ones; the share is of "
    "the ideal binary mask's gain."
)
_WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
_PLAYABLE = 4
"""Mixtures that the report's page plays."""
_GROUP = 8
"""Consecutive samples that are mixed with each other."""
Figures = tuple[float, float, float, float]
"""SI-SDR gain, SDR, SIR and SAR, in dB."""


@dataclass(frozen=True)
class Sought:
    """A sound that was sought in a mixture of two.

    Attributes:
        key, video: of its sample.
        other: key of what it was mixed with.
        disjoint: whether the two have no class in common; None where it isn't known what sounds.
        has_duet: whether one of the two has several classes.
        found: by row.
    """

    key: str
    video: str
    other: str
    disjoint: bool | None
    has_duet: bool
    found: dict[str, Figures]


@dataclass(frozen=True)
class Mixed:
    """What was found in a chunk: `left_out` samples were silent, or had none to be mixed with. Some of the mixtures are
    `playable` on the report's page."""

    sought: list[Sought]
    left_out: int
    playable: list[Playable] = field(default_factory=list)


class Separation(Measure[Mixed]):
    """Pairs and wrong frames are drawn in each group of consecutive samples, by a key of its place: whatever else is
    judged, and on any number of processes, they are the same. Sounds are judged at the model's rate, their channels
    averaged; masks, also the ideal ones, are made in the plane of the model's, and applied with the phase of the
    mixture."""

    def __init__(self, settings: MeasureSettings, judged: Judged) -> None:
        super().__init__(settings, judged)
        task = objective(judged.trained.system.task, MixAndSeparate)
        if task is None:
            raise TypeError("expected a model that was trained by mix-and-separate, found another")
        self._task, self._model = task, judged.trained.system.model
        self._features = judged.trained.settings.features
        self._stft = Stft.of(self._features)
        self._most_playable = min(_PLAYABLE, judged.settings.examples)
        self._is_playable = FirstOnes(self._most_playable)

    @classmethod
    def reason_against(cls, trained: Trained, samples: EvaluationSamples) -> str | None:
        """It needs frames, and an objective that makes masks."""
        return needs_objective(trained.system, MixAndSeparate, "mix-and-separate") or needs_input(
            trained.system, FRAMES
        )

    @property
    def group(self) -> int:
        """Another sound and a wrong frame come from the own group."""
        return _GROUP

    @torch.no_grad()
    def judge(self, chunk: Chunk) -> Mixed:
        """All sounds of the mixtures of a chunk, whose groups are whole."""
        batch, seed = chunk.shown, self.judged.settings.seed
        positions = range(chunk.start, chunk.start + len(chunk))
        drawn = draw_mixtures(seed, positions, batch.metadata, self.group, 1, "evaluate")
        loud = (batch.inputs[SOUND].abs().sum((1, 2)) > _SILENT).tolist()
        pairs = [one.members for one in drawn if all(one.counted) and all(loud[place] for place in one.members)]
        wrong = [_wrong_frame(seed, positions, batch.metadata, pair) for pair in pairs]
        sought: list[Sought] = []
        at_once = max(self.judged.settings.batch_size // 2, 1)
        for start in range(0, len(pairs), at_once):
            sought += self._judge(batch, pairs[start : start + at_once], wrong[start : start + at_once])
        playable = [self._playable(batch, pair) for pair in pairs if self._can_be_played(batch, pair)]
        return Mixed(sought, len(chunk) - 2 * len(pairs), playable)

    def _can_be_played(self, batch: EvaluationBatch, pair: tuple[int, ...]) -> bool:
        """Whether there are masks of places, and the mixture is one of the set's first."""
        return (
            self._task.head == "places"
            and self._model.grids[VISUAL].names == ("time", "row", "column")
            and self._is_playable(min(batch.indices[place] for place in pair))
        )

    def _playable(self, batch: EvaluationBatch, pair: tuple[int, ...]) -> Playable:
        """A mixture with what each place of its two frames keeps of it."""
        own, grid = batch.inputs[SOUND][list(pair)], self._model.grids[VISUAL].shape
        views, sounds = [], []
        for place, sound in zip(pair, own, strict=True):
            inputs = _seen(batch, [place]) | {SOUND: own.sum(0, keepdim=True)}
            masks = self._task.place_masks(self._model, inputs)[0]
            masks = masks.reshape(*grid, *masks.shape[1:])[grid[0] // 2]
            title = ", ".join(batch.metadata[place].labels) or batch.keys[place]
            views.append(View(f"frame of {title}", batch.middle[place].permute(1, 2, 0).cpu().numpy(), masks))
            sounds.append((f"{title} alone", sound.mean(0)))
        mixture = own.sum(0).mean(0)
        return playable_of(min(batch.indices[place] for place in pair), mixture, views, sounds, self._features)

    def _judge(
        self, batch: EvaluationBatch, pairs: Sequence[tuple[int, ...]], wrong: Sequence[int | None]
    ) -> list[Sought]:
        """The sounds of some pairs, the first of each pair and then the second."""
        places = [place for pair in pairs for place in pair]
        own = batch.inputs[SOUND][places]
        mixed = own.view(len(pairs), 2, *own.shape[1:]).sum(1).repeat_interleave(2, 0)
        masks = self._masks(batch, places, mixed, [frame for frame in wrong for _ in range(2)])
        sounds, mixture = own.mean(1), mixed.mean(1)
        magnitude, whole = (self._task.plane.magnitude(one[:, None])[:, 0] for one in (sounds, mixture))
        every = torch.arange(len(places))
        masks |= {BINARY: (every, ideal_binary_mask(magnitude, whole))}
        masks |= {RATIO: (every, ideal_ratio_mask(magnitude, whole))}
        spectrum, samples = self._stft(mixture), mixture.shape[-1]
        estimates = {MIXTURE: mixture}
        for name, (rows, mask) in masks.items():
            linear = to_linear_frequency(mask, self._stft, self._stft, spectrum.shape[-1])
            estimates[name] = mixture.clone()  # BSS eval takes all sources of a mixture; what has no mask is not used
            estimates[name][rows] = resynthesise(self._stft, spectrum[rows], linear, samples)
        has = {name: set(rows.tolist()) for name, (rows, _) in masks.items()} | {MIXTURE: set(every.tolist())}
        gains = {name: si_sdr(one, sounds) - si_sdr(mixture, sounds) for name, one in estimates.items()}
        stacked = torch.stack(list(estimates.values()))
        found = []
        for number, pair in enumerate(pairs):
            two = slice(2 * number, 2 * number + 2)
            ratios = torch.stack(bss_eval(sounds[two], stacked[:, two]), dim=-1)  # [rows, 2, 3]
            disjoint = _disjoint(*(batch.metadata[place] for place in pair))
            has_duet = any(len(batch.metadata[place].labels) > 1 for place in pair)
            for which in range(2):
                at = 2 * number + which
                of_rows = {}
                for row, name in enumerate(estimates):
                    if at in has[name]:
                        sdr, sir, sar = ratios[row, which].tolist()
                        of_rows[name] = (float(gains[name][at]), sdr, sir, sar)
                if _is_clear(batch.metadata[pair[which]], batch.metadata[pair[1 - which]]):
                    of_rows[CLEAR] = of_rows[FRAME]
                key, other = (batch.keys[place] for place in (pair[which], pair[1 - which]))
                found.append(Sought(key, batch.metadata[pair[which]].video, other, disjoint, has_duet, of_rows))
        return found

    def _masks(
        self, batch: EvaluationBatch, places: list[int], mixed: Tensor, wrong: Sequence[int | None]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """The model's masks by row: of which sounds, and [.., F, T]."""
        task, found = self._task, {}
        every = list(range(len(places)))
        inputs = _seen(batch, places) | {SOUND: mixed}
        found[FRAME] = (every, task.frame_masks(self._model, inputs))
        shown = [at for at in every if wrong[at] is not None]
        others = _seen(batch, [frame for frame in wrong if frame is not None])
        if shown:
            found[WRONG] = (shown, task.frame_masks(self._model, others | {SOUND: mixed[shown]}))
        poses = [name for name in inputs if isinstance(self._features.inputs.get(name), KeypointsSettings)]
        nothing = {name: torch.zeros_like(inputs[name]) for name in (FRAMES, *poses)}
        found[BLANK] = (every, task.frame_masks(self._model, inputs | nothing))
        for name in poses:
            black = {other: values for other, values in nothing.items() if other != name}
            found[POSE_ALONE] = (every, task.frame_masks(self._model, inputs | black))
            found[NO_POSE] = (every, task.frame_masks(self._model, inputs | {name: nothing[name]}))
            if shown:
                own = {other: values[shown] for other, values in inputs.items()}
                found[WRONG_POSE] = (shown, task.frame_masks(self._model, own | {name: others[name]}))
        grid = self._model.grids[VISUAL]
        if task.head == "places" and grid.names == ("time", "row", "column"):
            clicks = [_click(batch, place) for place in places]
            if known := [at for at, click in enumerate(clicks) if click is not None]:
                weights = torch.stack([token_weights(grid, click) for click in clicks if click is not None])[:, None]
                of_clicks = {name: values[known] for name, values in inputs.items()}
                found[CLICK] = (known, task.place_masks(self._model, of_clicks, weights.to(mixed.device))[:, 0])
            if grid.shape[-1] > 1:  # else both frames lie on the same tokens
                found |= self._masks_beside(inputs, clicks)
        return {name: (torch.tensor(rows), mask) for name, (rows, mask) in found.items()}

    def _masks_beside(self, inputs: Inputs, clicks: Sequence[Box | None]) -> dict[str, tuple[list[int], Tensor]]:
        """The masks of places of two frames in one: of the own, and of the other's."""
        grid = self._model.grids[VISUAL]
        own = torch.stack([weights_in_half(grid, click or _WHOLE, at % 2) for at, click in enumerate(clicks)])
        both = torch.stack([own, own.view(-1, 2, own.shape[1]).flip(1).flatten(0, 1)], dim=1)  # [B, 2, N]
        beside = inputs | {FRAMES: side_by_side(inputs[FRAMES])}
        masks, every = self._task.place_masks(self._model, beside, both.to(inputs[SOUND].device)), range(len(clicks))
        return {name: (list(every), masks[:, which]) for which, name in enumerate((DUET, CROSSED))}

    def tables(self, found: Sequence[Mixed]) -> list[Table]:
        """Of pairs that have no class in common, and of all."""
        sought = [one for chunk in found for one in chunk.sought]
        left_out = sum(chunk.left_out for chunk in found)
        tables = [
            self._table(name, title, own, _ABOUT if name == "separation" else "")
            for name, (title, own) in _of_different_classes(sought).items()
            if own
        ]
        about = "" if tables else _ABOUT
        tables.append(self._table("separation_any", "separation of any two sounds", sought, about, left_out))
        return tables

    def sample_scores(self, found: Sequence[Mixed]) -> list[SampleScores]:
        """Of the same tables."""
        sought = [one for chunk in found for one in chunk.sought]
        tables = {name: own for name, (_, own) in _of_different_classes(sought).items()} | {"separation_any": sought}
        return [_sample_scores(name, own) for name, own in tables.items() if own]

    def files(self, found: Sequence[Mixed]) -> dict[str, bytes]:
        """The gallery that plays."""
        playable = [one for chunk in found for one in chunk.playable]
        return {SOUNDS: as_file(playable, self._most_playable)} if playable else {}

    def _table(self, name: str, title: str, sought: Sequence[Sought], about: str = _ABOUT, left_out: int = 0) -> Table:
        notes = [f"{left_out} samples are silent or had no other video to be mixed with"] if left_out else []
        if not sought:
            return Table(name, title, _COLUMNS, (), 0, notes=("there are no two sounds to be mixed", *notes))
        scores = _sample_scores(name, sought)
        rows = {row: _row(row, scores) for row in scores.values}
        if CLEAR in rows:
            notes.append(
                f"{CLEAR}: of the model's row, the sounds whose frame shows no class of the other, silent or not"
            )
        if CLICK in rows:
            notes.append("a click is on the middle of the box, of samples with one box")
        gain = rows[FRAME].values["gain"]
        beside = tuple((row, rows[row].values["gain"]) for row in (BINARY, WRONG) if row in rows)
        headline = Headline("sound gained by what is seen", gain, "dB", beside) if gain is not None else None
        return Table(
            name,
            title,
            _COLUMNS,
            tuple(rows.values()),
            len(sought),
            about=about,
            notes=(*notes, f"masks have {self._task.bins} log-frequency bins"),
            headlines=(headline,) if headline is not None and about else (),
        )


def _of_different_classes(sought: Sequence[Sought]) -> dict[str, tuple[str, list[Sought]]]:
    """By name title and sounds of the tables of pairs that have no class in common: all, and where there are both,
    those of solos and those with a duet (paper 001, Table 1: single-source and multi-source)."""
    disjoint = [one for one in sought if one.disjoint]
    solos, duets = ([one for one in disjoint if one.has_duet is several] for several in (False, True))
    tables = {"separation": ("separation of sounds of different classes", disjoint)}
    if solos and duets:
        tables["separation_solos"] = ("separation of two instruments", solos)
        tables["separation_duets"] = ("separation of three instruments or four into two videos' sounds", duets)
    return tables


def _sample_scores(table: str, sought: Sequence[Sought]) -> SampleScores:
    """Of each sound the figures of the rows that have it."""
    nothing = (math.nan,) * 4
    values: dict[str, dict[str, npt.NDArray[np.float64] | Statistic]] = {}
    ideal = np.array([one.found[BINARY][0] for one in sought])
    for row in (row for row in _ROWS if any(row in one.found for one in sought)):
        gain, sdr, sir, sar = np.array([one.found.get(row, nothing) for one in sought]).T
        known = ~np.isnan(gain)
        share = MeanOfRatios(np.where(known, gain, 0.0)[None, None], np.where(known, ideal, 0.0)[None, None])
        values[row] = {"gain": gain, "share": share, "sdr": sdr, "sir": sir, "sar": sar}
    ids = [f"{one.key} in {one.key} + {one.other}" for one in sought]
    return SampleScores(table, ids, [one.video for one in sought], values)


def _row(name: str, scores: SampleScores) -> Row:
    """Means over the sounds that the row has, and half of a 95 % confidence interval of the gain."""
    gains = scores.statistic(name, "gain")
    known = gains.of(gains.known).arrays["values"]
    values = scores.figures(name) | {"sounds": float(len(known))}
    deviation = float(np.std(known, ddof=1)) if len(known) > 1 else 0.0
    return Row(name, _ROWS[name], values, {"gain": 1.96 * deviation / math.sqrt(len(known))})


def _seen(batch: EvaluationBatch, places: Sequence[int]) -> Inputs:
    """All that is no sound."""
    return {name: values[list(places)] for name, values in batch.inputs.items() if name != SOUND}


def _disjoint(one: SampleMetadata, other: SampleMetadata) -> bool | None:
    return set(one.labels).isdisjoint(other.labels) if one.labels and other.labels else None


def _wrong_frame(
    seed: int, positions: Sequence[int], samples: Sequence[SampleMetadata], pair: tuple[int, ...]
) -> int | None:
    """One of their group, of another scene than both, which is not known to show anything that sounds in either."""
    both, group = [samples[place] for place in pair], positions[pair[0]] // _GROUP
    others = [
        place
        for place, sample in enumerate(samples)
        if positions[place] // _GROUP == group
        and not any(same_scene(sample, one) or _shows_some(sample, one) for one in both)
    ]
    return draw_one(seed, "evaluate-wrong-frame", positions[pair[0]], others)


def _shows_some(frame: SampleMetadata, sound: SampleMetadata) -> bool:
    return any(shows_all(frame, sound.model_copy(update={"labels": [label]})) for label in sound.labels)


def _is_clear(frame: SampleMetadata, other: SampleMetadata) -> bool:
    """Whether a frame is known to show no class of the other sound: else nobody could tell by it alone which of the two
    is sought."""
    return frame.visible is not None and bool(other.labels) and set(frame.visible).isdisjoint(other.labels)


def _click(batch: EvaluationBatch, place: int) -> Box | None:
    """The middle of a sample's only box, a point in 0–1 of the model's square; None of one without, or outside the
    square."""
    boxes = batch.metadata[place].boxes
    if boxes is None or len(boxes) != 1:
        return None
    seen = crop_boxes(boxes, batch.squares[place])
    if not seen:
        return None
    x, y = (seen[0][0] + seen[0][2]) / 2, (seen[0][1] + seen[0][3]) / 2
    return (x, y, x, y)
