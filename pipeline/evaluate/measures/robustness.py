"""Does a map follow the sound? What stays of it beside a silent distractor, and where the sound is not the frame's."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from pipeline.evaluate.baselines.saliency import saliency
from pipeline.evaluate.baselines.simple_maps import centre_disc
from pipeline.evaluate.measures.choice import Hits, pieces
from pipeline.evaluate.measures.contract import Column, Headline, Judged, Measure, Row, RowKind, SampleScores, Table
from pipeline.evaluate.measures.distractor import paste_distractor
from pipeline.evaluate.measures.localisation import CENTRE, MODEL, SALIENCY, UNTRAINED, Localisation
from pipeline.evaluate.metrics.area import Ranking
from pipeline.evaluate.metrics.ciou import SUCCESS
from pipeline.evaluate.metrics.detection import top_quarter
from pipeline.evaluate.metrics.ground_truth import Mask
from pipeline.evaluate.metrics.pointing import points_at
from pipeline.evaluate.metrics.resize import Centres, resize_seen
from pipeline.evaluate.metrics.scores import score_map
from pipeline.evaluate.metrics.statistics import AreaUnderRoc, Statistic
from pipeline.evaluate.metrics.stays import scaled, stays
from pipeline.evaluate.readouts.attention import noise_like
from pipeline.evaluate.readouts.needs import needs_sound_beside
from pipeline.evaluate.registry import MeasureSettings
from pipeline.evaluate.samples import Chunk, EvaluationBatch, EvaluationSamples, mask_in_square
from pipeline.features.inputs import FRAMES, SOUND
from pipeline.samples.metadata import SampleMetadata
from pipeline.stream.randomness import keyed_generator
from pipeline.tasks.pairing import draw_one, others_in_groups
from pipeline.tasks.task import System
from pipeline.train.load import Trained, untrained

OWN, DISTRACTOR, SILENCE, NOISE, OFF_SCREEN, OTHER = "own", "distractor", "silence", "noise", "off_screen", "other"
_TITLES = {
    OWN: "as it is",
    DISTRACTOR: "silent distractor",
    SILENCE: "silence",
    NOISE: "noise",
    OFF_SCREEN: "off-screen sound",
    OTHER: "another video's sound",
}
_SOUNDS = (SILENCE, NOISE, OFF_SCREEN, OTHER)
_CHANGES = (DISTRACTOR, *_SOUNDS)
_LURED = "lured"
_SCALED = "model, each map scaled to 0–1"
_ROWS: dict[str, RowKind] = {
    MODEL: "model",
    _SCALED: "readout",
    UNTRAINED: "control",
    SALIENCY: "control",
    CENTRE: "control",
}
_GROUP = 8
_OF_MAP, _OF_TRUTH, _POINTING, _OVERLAP, _CONFIDENCE, _AT_THING = range(6)
"""What is found of a map: see `Found`."""
_TABLES = {
    "robustness": (_OF_MAP, "what stays of the map", _CHANGES),
    "robustness_truth": (_OF_TRUTH, "what stays of the map on what sounds", _CHANGES),
    "robustness_pointing": (_POINTING, "points at what sounds", (OWN, *_CHANGES)),
    "robustness_overlap": (_OVERLAP, "cIoU_adap with what sounds", (OWN, *_CHANGES)),
    "robustness_confidence": (_CONFIDENCE, "confidence told from that with the own sound (AUROC)", _SOUNDS),
}
_ABOUT = (
    "Each map is made again with a silent distractor in the frame (what another sample’s box shows, of no class that "
    "sounds), and with silence, noise as loud as the sound, an off-screen sound (of a class that is not in sight) or "
    "another video’s, of no class that sounds. What stays are the highest pixels of the own map, as many as the truth "
    "has, that are still as high: in the units of the readout, since a map that is scaled to 0–1 by itself hides "
    "that it has sunk. With the right sound all should stay, without it nothing; a map that does not listen keeps "
    "100 %. The confidence of a map is the mean of its highest quarter; 50 % is guessing."
)
Numbers = npt.NDArray[np.float64]
Maps = Sequence[npt.NDArray[np.floating]] | npt.NDArray[np.floating]
_Partners = Mapping[str, Sequence[int | None]]


@dataclass(frozen=True)
class Found:
    """What was found in a chunk.

    Attributes:
        keys, clusters: of the located samples; of each its image or video.
        numbers: by row and by what was changed [N, 6]: the shares that stay of the map and of it on the truth, whether
            it points at what sounds, whether cIoU_adap is a success, its confidence, and whether it points at the
            pasted thing. NaN where it wasn't judged.
        without_area: samples whose boxes have no area where maps are judged, which are left out.
    """

    keys: list[str]
    clusters: list[str]
    numbers: dict[str, dict[str, Numbers]]
    without_area: int


@dataclass(frozen=True)
class _Changed:
    """Samples of a batch, changed.

    Attributes:
        rows: their places in the batch.
        things: where something was pasted into them, [S, S] each; else none.
    """

    rows: list[int]
    batch: EvaluationBatch
    things: list[Mask]


class Robustness(Measure[Found]):
    """Located samples, by the readout of the row `model`. Other sounds and pasted things come from the own group."""

    chooses = True

    def __init__(self, settings: MeasureSettings, judged: Judged) -> None:
        super().__init__(settings, judged)
        self._evaluate, self._chooser = judged.settings, judged.chooser
        self._fresh = untrained(judged.trained.settings, judged.samples.device, judged.settings.seed)

    @classmethod
    def reason_against(cls, trained: Trained, samples: EvaluationSamples) -> str | None:
        """It needs what localisation does, and a sound."""
        return Localisation.reason_against(trained, samples) or needs_sound_beside(trained.system)

    @property
    def group(self) -> int:
        """What is shown besides comes from the own group."""
        return _GROUP

    def choose(self, chunk: Chunk) -> Hits:
        """As localisation."""
        return self._chooser.choose(chunk)

    def chosen(self, found: Sequence[Hits]) -> None:
        """As localisation."""
        self._chooser.chosen(found)

    def judge(self, chunk: Chunk) -> Found:
        """All rows on the located samples, with all changes."""
        batch = chunk.judged
        located = [place for place in chunk.located if _area(batch.truths[place])]
        numbers = {row: {change: np.full((len(located), 6), np.nan) for change in (OWN, *_CHANGES)} for row in _ROWS}
        partners = self._partners(chunk.start, batch.metadata)
        for number, places in enumerate(pieces(located, self._evaluate.batch_size)):
            changed = self._changed(batch, places, chunk.start, partners)
            for row, of_row in self._compare(changed).items():
                for change, found in of_row.items():
                    rows = np.array(changed[change].rows) + number * self._evaluate.batch_size
                    numbers[row][change][rows] = found
        metadata = [batch.metadata[place] for place in located]
        clusters, keys = [one.group or one.video for one in metadata], [batch.keys[place] for place in located]
        return Found(keys, clusters, numbers, len(chunk.located) - len(located))

    def _partners(self, start: int, samples: Sequence[SampleMetadata]) -> _Partners:
        """For each sample the places of others of its group, of other scenes: one of no class that sounds; one whose
        sound is known to be of nothing in sight; and one whose box may be pasted, of no class that sounds."""
        seed, positions = self._evaluate.seed, range(start, start + len(samples))
        found: dict[str, list[int | None]] = {OTHER: [], OFF_SCREEN: [], DISTRACTOR: []}
        for position, sample, others in zip(
            positions, samples, others_in_groups(_GROUP, positions, samples), strict=True
        ):
            in_sight = set(sample.labels if sample.visible is None else sample.visible)
            heard = {other: set(samples[other].labels) for other in others}
            choices = {
                OTHER: [other for other in others if not heard[other] & set(sample.labels)],
                OFF_SCREEN: [other for other in others if heard[other] and not heard[other] & in_sight],
                DISTRACTOR: [
                    other for other in others if samples[other].boxes and not heard[other] & set(sample.labels)
                ],
            }
            for change, among in choices.items():
                found[change].append(draw_one(seed, f"evaluate-robustness-{change}", position, among))
        return found

    def _changed(
        self, batch: EvaluationBatch, places: list[int], start: int, partners: _Partners
    ) -> dict[str, _Changed]:
        """The samples at these places as they are, and those of them that can be changed, by how they are."""
        own, every = batch.select(places), list(range(len(places)))
        changed = {OWN: _Changed(every, own, [])}
        sound, seed = own.inputs[SOUND], self._evaluate.seed
        for change, played in ((SILENCE, torch.zeros_like(sound)), (NOISE, noise_like(sound, seed))):
            changed[change] = _Changed(every, replace(own, inputs=own.inputs | {SOUND: played}), [])
        for change in (OFF_SCREEN, OTHER):
            others = {row: other for row, place in enumerate(places) if (other := partners[change][place]) is not None}
            if others:
                here, there = own.select(list(others)), batch.select(list(others.values()))
                heard = {name: there.inputs[name] for name in self.judged.samples.heard}
                changed[change] = _Changed(list(others), replace(here, inputs=here.inputs | heard), [])
        pasted = {}
        for row, place in enumerate(places):
            if (other := partners[DISTRACTOR][place]) is not None:
                generator = keyed_generator(seed, "evaluate-robustness-place", start + place)
                if (one := paste_distractor(batch, place, other, generator)) is not None:
                    pasted[row] = one
        if pasted:
            here = own.select(list(pasted))
            frames = torch.stack([one.frames for one in pasted.values()])
            squares = zip(pasted.values(), here.squares, strict=True)
            things = [mask_in_square([one.box], square, self._evaluate.map_size) for one, square in squares]
            seen = replace(here, inputs=here.inputs | {FRAMES: frames})
            changed[DISTRACTOR] = _Changed(list(pasted), seen, things)
        return changed

    def _compare(self, changed: Mapping[str, _Changed]) -> dict[str, dict[str, Numbers]]:
        """By row and change, what was found of the samples that were changed so [n, 6]."""
        own = changed[OWN].batch
        truths = [truth for truth in own.truths if truth is not None]
        found: dict[str, dict[str, Numbers]] = {row: {} for row in _ROWS}
        for row, (read, hears) in self._readers().items():
            unchanged = read(own)
            for change, one in changed.items():
                again = change == DISTRACTOR or (hears and change != OWN)
                maps = read(one.batch) if again else [unchanged[place] for place in one.rows]
                before, there = [unchanged[place] for place in one.rows], [truths[place] for place in one.rows]
                found[row][change] = _numbers(before, maps, there, one.things)
                if row == MODEL:
                    before, maps = ([scaled(heat) for heat in both] for both in (before, maps))
                    found[_SCALED][change] = _numbers(before, maps, there, one.things)
        return found

    def _readers(self) -> dict[str, tuple[Callable[[EvaluationBatch], Maps], bool]]:
        """By row what makes maps at the size at which they are judged, and whether they hang on the sound."""
        settings, choice, chooser = self._evaluate, self._chooser.choice, self._chooser

        def resized(batch: EvaluationBatch, maps: Maps, centres: Centres | None = None) -> Maps:
            return [
                resize_seen(heat, square, settings.map_size, settings.align_corners, centres)
                for heat, square in zip(maps, batch.squares, strict=True)
            ]

        def of_system(system: System) -> Callable[[EvaluationBatch], Maps]:
            centres = chooser.centres(choice.readout)
            return lambda batch: resized(batch, chooser.read(choice.readout, system, batch)[0], centres)

        def salient(batch: EvaluationBatch) -> Maps:
            return resized(batch, saliency(choice.saliency, batch.middle.float() / 255).cpu().numpy())

        return {
            MODEL: (of_system(self.judged.trained.system), True),
            UNTRAINED: (of_system(self._fresh), True),
            SALIENCY: (salient, False),
            CENTRE: (lambda batch: [centre_disc(settings.map_size)] * len(batch), False),
        }

    def tables(self, found: Sequence[Found]) -> list[Table]:
        """What stays of the map, and what becomes of the figures of localisation and of its confidence."""
        scores = {one.measure: one for one in self.sample_scores(found)}
        if not scores:
            reason = f"{self.judged.samples.url} has no boxes with an area, so maps could not be judged"
            return [Table("robustness", "what stays of the map", (), (), 0, notes=(reason,))]
        return [self._table(name, of_samples, found) for name, of_samples in scores.items()]

    def sample_scores(self, found: Sequence[Found]) -> list[SampleScores]:
        """Of each located sample, in all tables."""
        keys, clusters = ([name for one in found for name in getattr(one, names)] for names in ("keys", "clusters"))
        if not keys:
            return []
        numbers = {
            row: {change: np.concatenate([one.numbers[row][change] for one in found]) for change in (OWN, *_CHANGES)}
            for row in _ROWS
        }
        of_tables = []
        for name, (which, _, changes) in _TABLES.items():
            values: dict[str, dict[str, Numbers | Statistic]] = {}
            for row, of_row in numbers.items():
                of_changes = {change: of_row[change][:, which] for change in (OWN, *changes)}
                values[row] = {change: of_changes[change] for change in changes}
                if which == _CONFIDENCE:
                    own = of_changes[OWN]
                    values[row] = {change: AreaUnderRoc(own, of_changes[change]) for change in changes}
                if which == _POINTING:
                    values[row][_LURED] = of_row[DISTRACTOR][:, _AT_THING]
            if which in (_POINTING, _OVERLAP):
                values.pop(_SCALED)  # they hang on the order of a map's values alone
            of_tables.append(SampleScores(name, keys, clusters, values))
        return of_tables

    def _table(self, name: str, scores: SampleScores, found: Sequence[Found]) -> Table:
        which, title, changes = _TABLES[name]
        better_with = (OWN, DISTRACTOR)  # the right sound
        columns = [
            Column(change, _TITLES[change], higher_is_better=which == _CONFIDENCE or change in better_with)
            for change in changes
        ]
        if which == _POINTING:
            columns.append(Column(_LURED, "points at the distractor", higher_is_better=False))
        readout = self._chooser.choice.readout
        made_by = {MODEL: readout, _SCALED: readout, UNTRAINED: readout, SALIENCY: self._chooser.choice.saliency}
        rows = tuple(Row(row, _ROWS[row], scores.figures(row), made_by=made_by.get(row)) for row in scores.values)
        notes, warnings, headlines = list[str](), list[str](), list[Headline]()
        if name == "robustness":
            judged = ((change, int(scores.statistic(MODEL, change).known.sum())) for change in _CHANGES)
            told = ", ".join(f"{_TITLES[change]} {count:,}" for change, count in judged if count < len(scores.ids))
            if told:
                notes.append(f"not all samples could be changed in each way, of {len(scores.ids):,}: {told}")
            if without := sum(one.without_area for one in found):
                notes.append(f"{without:,} samples whose boxes have no area are left out")
            sure = np.concatenate([of_row[:, _CONFIDENCE] for one in found for of_row in one.numbers[MODEL].values()])
            if not_finite := int(np.isneginf(sure).sum()):
                warnings.append(f"{not_finite:,} maps are not finite (NaN or infinite): they keep and find nothing")
            stayed = rows[0].values
            if (kept := stayed[DISTRACTOR]) is not None:
                beside = [(_TITLES[change], stayed[change]) for change in _SOUNDS if stayed[change] is not None]
                label = "of the map stays beside a silent distractor"
                headlines.append(Headline(label, kept, beside=(*beside, ("a map that does not listen", 1.0))))
        return Table(
            name,
            title,
            tuple(columns),
            rows,
            len(scores.ids),
            about=_ABOUT if name == "robustness" else "",
            notes=tuple(notes),
            warnings=tuple(warnings),
            headlines=tuple(headlines),
        )


def _numbers(before: Maps, maps: Maps, truths: Sequence[Mask], things: Sequence[Mask]) -> Numbers:
    """[n, 6], see `Found`."""
    rows = []
    for place, (own, heat, truth) in enumerate(zip(before, maps, truths, strict=True)):
        score = score_map(heat, truth)
        sure = top_quarter(Ranking(heat)) if score.finite else -math.inf
        lured = points_at(heat, things[place]) if things else math.nan
        rows.append((*stays(own, heat, truth), score.pointing, score.ciou_adap >= SUCCESS, sure, lured))
    return np.array(rows, dtype=np.float64).reshape(-1, 6)


def _area(truth: Mask | None) -> bool:
    return truth is not None and bool(truth.any())
