"""A trained model on a benchmark: its maps are made of the frames and sounds that the benchmark's list names, found by
their ids in a shard set, and judged as maps of others are."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import PurePosixPath

import numpy as np

from pipeline.errors import BenchmarkError, SettingsError
from pipeline.evaluate.baselines.saliency import saliency
from pipeline.evaluate.benchmarks.benchmarks import open_benchmark
from pipeline.evaluate.benchmarks.figures import JudgedSamples
from pipeline.evaluate.benchmarks.judged_map import JudgedMap, resized
from pipeline.evaluate.benchmarks.prepared_media import MediaAtHand, PreparedMedia, views_of
from pipeline.evaluate.benchmarks.sample import TRUTH_SIZE, BenchmarkSample
from pipeline.evaluate.benchmarks.score import Judging
from pipeline.evaluate.measures.choice import Hits, pieces
from pipeline.evaluate.measures.contract import Headline, Judged, Measure, Row, RowKind, SampleScores, Table
from pipeline.evaluate.measures.localisation import MODEL, SALIENCY, SHUFFLED, UNTRAINED, Localisation
from pipeline.evaluate.measures.other_sounds import choose_other_sounds
from pipeline.evaluate.metrics.resize import Centres, Map, resize_seen
from pipeline.evaluate.metrics.scores import sample_figures
from pipeline.evaluate.registry import BenchmarkSettings
from pipeline.evaluate.samples import Chunk, EvaluationBatch, EvaluationSamples
from pipeline.evaluate.sentences import GEOMETRIES
from pipeline.features.inputs import SOUND
from pipeline.tasks.task import System
from pipeline.train.load import Trained, untrained

_CORNERS = "boxes as corners"
_BOX = "mean box of the validation split"
_ABOUT = (
    "The row model is the readout that localises best on the validation split, or the default one without it. Rows of "
    "evaluators are the same maps by their public code. Controls hear nothing, or another's sound, or are untrained; "
    "the ceiling is the truth."
)


@dataclass
class Located:
    """What was found in a chunk.

    Attributes:
        numbers: of the samples in the benchmark.
        rows: of each row what its maps score, one a sample.
        shapes: of the model's maps, how many have each height and width.
        without_other_sound: samples for which no sound was found that does not belong to their frame.
    """

    numbers: list[int] = field(default_factory=list)
    rows: dict[str, Sequence[JudgedMap]] = field(default_factory=dict)
    shapes: Counter[tuple[int, ...]] = field(default_factory=Counter)
    without_other_sound: int = 0

    def __iadd__(self, other: "Located") -> "Located":
        self.numbers += other.numbers
        for name, judged in other.rows.items():
            self.rows[name] = [*self.rows.get(name, ()), *judged]
        self.shapes += other.shapes
        self.without_other_sound += other.without_other_sound
        return self


class BenchmarkMeasure(Measure[Located]):
    """Judges the model's maps of a benchmark's frames, each with the sounds that the benchmark asks for."""

    settings: BenchmarkSettings
    chooses = True

    def __init__(self, settings: BenchmarkSettings, judged: Judged) -> None:
        """
        Raises:
            BenchmarkError, ManifestError: the list can't be read, or the shard set has nothing of it.
            SettingsError: settings by which it can't be judged.
        """
        super().__init__(settings, judged)
        self._evaluate, self._chooser = judged.settings, judged.chooser
        if self._evaluate.geometry == "centre":
            raise SettingsError(
                "evaluate.geometry: expected squash or letterbox, for benchmarks are of whole frames, found centre"
            )
        self._wanted = open_benchmark(settings.name, settings.list, settings.pairs, settings.only, settings.truths)
        self._judging = Judging(self._wanted, None)
        self._media = PreparedMedia(judged.samples)
        self._asked: dict[int, list[int]] = {}
        for number, sample in enumerate(self._wanted.samples):
            place = self._media.place_of(sample.frames[0])
            if place is not None and self._media.lacking(sample) is None:
                self._asked.setdefault(place, []).append(number)
        self._check()

    def _check(self) -> None:
        samples = [self._wanted.samples[number] for numbers in self._asked.values() for number in numbers]
        if not samples:
            example, found = self._wanted.samples[0].frames[0], self.judged.samples.keys[0]
            raise BenchmarkError(
                f"{self.judged.samples.url}: expected samples of {self._wanted.url}, such as {example}, found others "
                f"such as {found}; gavt prepare makes a set from that list"
            )
        heard = self.judged.samples.heard
        if heard != (SOUND,) and any(len(sample.sounds) > 1 for sample in samples):
            raise SettingsError(
                f"{self.settings.name}: expected a model that hears {SOUND} alone, for its sounds are mixed, found one "
                f"that takes {', '.join(heard) or 'none'}"
            )

    @classmethod
    def reason_against(cls, trained: Trained, samples: EvaluationSamples) -> str | None:
        """It needs what localisation needs."""
        return Localisation.reason_against(trained, samples)

    def choose(self, chunk: Chunk) -> Hits:
        """How often readouts and saliencies point at what sounds."""
        return self._chooser.choose(chunk)

    def chosen(self, found: Sequence[Hits]) -> None:
        """Take what localises best."""
        self._chooser.chosen(found)

    @cached_property
    def _fresh(self) -> System:
        return untrained(self.judged.trained.settings, self.judged.samples.device, self._evaluate.seed)

    def judge(self, chunk: Chunk) -> Located:
        """Scores of the samples whose first frames lie in a chunk."""
        located = Located()
        numbers = [number for place in range(len(chunk)) for number in self._asked.get(chunk.start + place, ())]
        media = self._media.at_hand([self._wanted.samples[number] for number in numbers], chunk)
        strangers = choose_other_sounds(media.batch.metadata) if self.settings.controls else []
        for some in pieces(numbers, self._evaluate.batch_size):
            samples = [self._wanted.samples[number] for number in some]
            located += Located(some)
            located += self._score(samples, media)
            if self.settings.controls:
                located += self._shuffled(samples, media, strangers)
        return located

    def _score(self, samples: Sequence[BenchmarkSample], media: MediaAtHand) -> Located:
        """Score all rows but the one with other sounds."""
        batch = media.shown(views_of(samples))
        choice, trained = self._chooser.choice, self.judged.trained.system
        maps = self._chooser.read(choice.readout, trained, batch)[0]
        made = self._over_frames(samples, maps, batch, self._chooser.centres(choice.readout))
        rows = {MODEL: self._judging.judge(MODEL, samples, made, thorough=True).maps}
        if self._judging.reads_corners:
            rows[_CORNERS] = self._judging.on_corners(samples, made).maps
        salient = saliency(choice.saliency, batch.middle.float() / 255).cpu().numpy()
        rows[SALIENCY] = self._judging.judge(SALIENCY, samples, self._over_frames(samples, salient, batch, None)).maps
        if self.settings.controls:
            rows[UNTRAINED] = self._judge(UNTRAINED, self._fresh, samples, batch)
        height, width = maps.shape[1:]
        shapes = Counter[tuple[int, ...]]((height, width * len(sample.frames)) for sample in samples)
        return Located([], rows, shapes)

    def _shuffled(
        self, samples: Sequence[BenchmarkSample], media: MediaAtHand, strangers: Sequence[int | None]
    ) -> Located:
        """Score the model's maps with sounds that don't belong to the samples' frames."""
        views = views_of(samples)
        others = [strangers[media.rows[frame]] for frame, _ in views]
        known = [[row] for row in others if row is not None]
        if len(known) < len(others):
            return Located(without_other_sound=others.count(None))
        batch = media.hearing(media.shown(views), known)
        return Located(rows={SHUFFLED: self._judge(SHUFFLED, self.judged.trained.system, samples, batch)})

    def _judge(
        self, row: str, system: System, samples: Sequence[BenchmarkSample], batch: EvaluationBatch
    ) -> Sequence[JudgedMap]:
        readout = self._chooser.choice.readout
        maps = self._chooser.read(readout, system, batch)[0]
        made = self._over_frames(samples, maps, batch, self._chooser.centres(readout))
        return self._judging.judge(row, samples, made).maps

    def _over_frames(
        self, samples: Sequence[BenchmarkSample], maps: Map, batch: EvaluationBatch, centres: Centres | None
    ) -> list[Map]:
        """Of each sample one map [S, S] over its whole frame; of several frames theirs, side by side."""
        corners = self._evaluate.align_corners
        over = {
            view: resize_seen(heat, square, TRUTH_SIZE, corners, centres)
            for view, heat, square in zip(views_of(samples), maps, batch.squares, strict=True)
        }
        return [np.hstack([over[frame, sample.sounds] for frame in sample.frames]) for sample in samples]

    @property
    def _called(self) -> str:
        only = "" if self.settings.only is None else f"_{PurePosixPath(self.settings.only).stem}"
        return f"benchmark_{self.settings.name}{only}"

    def tables(self, found: Sequence[Located]) -> list[Table]:
        """One: the benchmark's own figures, and how much of it was there."""
        together = _together(found)
        samples = [self._wanted.samples[number] for number in together.numbers]

        def row(name: str, kind: RowKind, made_by: str | None = None) -> Row:
            values = self._judging.values(JudgedSamples(samples, together.rows[name]))
            return Row(name, kind, values, made_by=made_by)

        choice = self._chooser.choice
        controls = [row(SALIENCY, "control", choice.saliency)]
        controls += [row(name, "control", choice.readout) for name in (UNTRAINED, SHUFFLED) if name in together.rows]
        if choice.mean_box is not None:
            box = resized(choice.mean_box)
            judged = self._judging.judge(_BOX, samples, (np.hstack([box] * len(sample.frames)) for sample in samples))
            controls.append(Row(_BOX, "control", self._judging.values(judged)))
        controls += self._judging.controls(samples, together.shapes, self._evaluate.align_corners)
        corners = together.rows.get(_CORNERS)
        score = self._judging.score(
            JudgedSamples(samples, together.rows[MODEL]),
            None if corners is None else JudgedSamples(samples, corners),
            controls,
            Counter(reason for one in self._wanted.samples if (reason := self._media.lacking(one)) is not None),
            self._media.count_others(self._wanted.samples),
        )
        rows = tuple(replace(one, made_by=choice.readout) if one.kind == "model" else one for one in score.table.rows)
        details = {
            "readout": choice.readout,
            "placement": dict(choice.placement),
            "coverage": asdict(score.coverage),
            "sweeps": score.sweeps,
        }
        return [
            replace(
                score.table,
                measure=self._called,
                rows=rows,
                about=_ABOUT,
                notes=(*score.table.notes, *self._how_judged()),
                warnings=tuple(self._warnings(together)),
                headlines=self._headlines(rows),
                details=details,
            )
        ]

    def sample_scores(self, found: Sequence[Located]) -> list[SampleScores]:
        """Of benchmarks whose figures are means over samples, of the rows that look at the samples."""
        if self._wanted.benchmark.figures != "areas":
            return []
        together = _together(found)
        samples = [self._wanted.samples[number] for number in together.numbers]
        groups = [sample.group for sample in samples]
        values = {name: sample_figures([one.score for one in made], groups) for name, made in together.rows.items()}
        clusters = [sample.group or sample.frames[0] for sample in samples]
        return [SampleScores(self._called, [sample.id for sample in samples], clusters, values)]

    def _how_judged(self) -> Iterator[str]:
        geometry, corners = self._evaluate.judged_geometry, "on" if self._evaluate.align_corners else "off"
        yield (
            f"maps are made of {GEOMETRIES[geometry]} (evaluate.geometry={geometry}), resized with align_corners "
            f"{corners}, and held against the truths of {self._wanted.url}"
        )
        asked = [(sample.frames, sample.sounds) for sample in self._wanted.samples]
        if len(set(asked)) < len(asked):
            yield "the sources of a mixture share its frame and its sound, so the model has one map for them all"

    def _warnings(self, together: Located) -> Iterator[str]:
        several = self._media.count_several(self._wanted.samples)
        if several:
            yield (
                f"{several} of its frames or sounds have several samples in {self.judged.samples.url}, of which the "
                "middle one was taken; prepared from the benchmark's list they have one, at the annotated moment"
            )
        if together.without_other_sound:
            yield (
                f"{SHUFFLED} was left out: for {together.without_other_sound} samples there is no sound of another "
                "video that shares no class with theirs among those that were read with them"
            )

    def _headlines(self, rows: Sequence[Row]) -> tuple[Headline, ...]:
        """The figure that the benchmark is known for, beside the best control."""
        name = "ap" if self._wanted.benchmark.figures in ("detection", "sources") else "ciou"
        title = next(one.title for one in self._judging.columns if one.name == name)
        known = {one.name: value for one in rows if one.kind == "control" and (value := one.values[name]) is not None}
        model = rows[0].values[name]
        if model is None or not known:
            return ()
        best = max(known, key=lambda one: known[one])
        return (Headline(f"{self._wanted.benchmark.title} {title}", model, "share", ((best, known[best]),)),)


def _together(found: Sequence[Located]) -> Located:
    """All of it, in the order of the benchmark's list, without the row of other sounds where some samples lack one."""
    together = Located()
    for one in found:
        together += one
    if together.without_other_sound:
        together.rows.pop(SHUFFLED, None)
    order = sorted(range(len(together.numbers)), key=together.numbers.__getitem__)
    together.numbers = [together.numbers[place] for place in order]
    together.rows = {name: [judged[place] for place in order] for name, judged in together.rows.items()}
    return together
