"""Where the sound comes from: maps against boxes, beside rows that ignore the sound and a perfect model's."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from pipeline.errors import SettingsError
from pipeline.evaluate.baselines.saliency import saliency
from pipeline.evaluate.baselines.simple_maps import centre_disc, oracle_map
from pipeline.evaluate.examples import EXAMPLES, Example, FirstOnes, as_npz, example_of
from pipeline.evaluate.measures.choice import Choice, Hits, pieces
from pipeline.evaluate.measures.contract import Column, Headline, Judged, Measure, Row, RowKind, SampleScores, Table
from pipeline.evaluate.measures.other_sounds import choose_other_sounds
from pipeline.evaluate.measures.scoreboard import Scoreboard, Scores, said_of_completeness
from pipeline.evaluate.metrics.resize import Map
from pipeline.evaluate.readouts.build import default_readout
from pipeline.evaluate.registry import READOUTS, MeasureSettings
from pipeline.evaluate.samples import Chunk, EvaluationBatch, EvaluationSamples
from pipeline.evaluate.sentences import GEOMETRIES
from pipeline.evaluate.views import views_of
from pipeline.train.load import Trained, untrained

MODEL, CENTRE, MEAN_BOX, SALIENCY = "model", "centre disc", "mean box", "image saliency"
UNTRAINED, SHUFFLED, ORACLE = "untrained network", "shuffled audio", "oracle ceiling"
SOUND_BLIND = (CENTRE, MEAN_BOX, SALIENCY)
"""Rows that never hear anything."""
_COLUMNS = (
    Column("pointing", "pointing"),
    Column("ciou", "cIoU"),
    Column("auc", "AUC"),
    Column("ciou_adap", "cIoU_adap"),
    Column("iiou", "IIoU"),
    Column("iiou_adap", "IIoU_adap"),
)
_ABOUT = (
    "Pointing: the map’s maximum lies on what sounds. cIoU and AUC take the upper half of the area as predicted, so "
    "nothing smaller than a quarter of the square can reach cIoU 0.5; the adaptive figures take as much area as the "
    "truth has. IIoU counts an image when each of its sounds is localised. The row model is the readout that "
    "localises best on the validation split, by the mean of pointing and cIoU_adap; the ceiling is the truth itself at "
    "the resolution of the model’s maps."
)


@dataclass(frozen=True)
class Identity:
    """What tells a sample from others.

    Attributes:
        video: its id and its source.
        contents: a hash of its frames and its sound.
    """

    video: tuple[str, str]
    contents: bytes


@dataclass(frozen=True)
class Chosen:
    """What was found in a chunk of the validation split."""

    hits: Hits
    samples: list[Identity]


@dataclass(frozen=True)
class Located:
    """What was found in a chunk.

    Attributes:
        without_other_sound: located samples for which no sound could be found that does not belong to their image.
    """

    samples: list[Identity]
    scores: Scores
    without_other_sound: int
    examples: list[Example]


class Localisation(Measure[Located]):
    """Scores every row on the located samples, and keeps examples."""

    chooses = True

    def __init__(self, settings: MeasureSettings, judged: Judged) -> None:
        super().__init__(settings, judged)
        self._evaluate, self._system, self._chooser = judged.settings, judged.trained.system, judged.chooser
        self._fresh = untrained(judged.trained.settings, judged.samples.device, judged.settings.seed)
        self._validation: list[Identity] = []
        self._first = FirstOnes(self._evaluate.examples)
        self._all_have_others = bool(judged.samples.heard)

    @classmethod
    def reason_against(cls, trained: Trained, samples: EvaluationSamples) -> str | None:
        """It needs frames, and a readout that the model has what it takes for."""
        if "frames" not in samples.inputs:
            return f"the model sees no frames, it takes {', '.join(samples.inputs)}"
        try:
            default_readout(samples.settings, trained.system)
        except SettingsError as error:
            return str(error)
        return None

    def choose(self, chunk: Chunk) -> Chosen:
        """How often readouts and saliencies point at what sounds."""
        return Chosen(self._chooser.choose(chunk), _identities(chunk))

    def chosen(self, found: Sequence[Chosen]) -> None:
        """Take what localises best."""
        self._chooser.chosen([one.hits for one in found])
        self._validation = [sample for one in found for sample in one.samples]

    def judge(self, chunk: Chunk) -> Located:
        """Scores of all rows on the samples with boxes; a few samples as examples."""
        other_sounds = choose_other_sounds(chunk.judged.metadata)
        without = sum(other_sounds[place] is None for place in chunk.located)
        self._all_have_others &= not without  # else the row is left out, for all rows are judged on the same samples
        scores = Scores()
        examples: list[Example] = []
        for places in pieces(chunk.located, self._evaluate.batch_size):
            batch = chunk.judged.select(places)
            board = Scoreboard(batch, self._evaluate.align_corners)
            examples += self._score(board, batch)
            chosen = self._choice.readout
            if self._all_have_others:
                others = [other for place in places if (other := other_sounds[place]) is not None]
                heard = {name: chunk.judged.inputs[name][others] for name in self.judged.samples.heard}
                unlike = batch.inputs | heard
                read = self._chooser.read(chosen, self._system, replace(batch, inputs=unlike))
                board.add(SHUFFLED, *read, self._chooser.centres(chosen))
            scores += board.scores
        return Located(_identities(chunk), scores, without, [*examples, *self._unlocated(chunk)])

    def _score(self, board: Scoreboard, batch: EvaluationBatch) -> list[Example]:
        """Score all rows but the one with other sounds."""
        settings, chosen = self._evaluate, self._choice.readout
        maps: dict[str, Map] = {}
        for name in self._chooser.candidates:
            maps[name], attribution = self._chooser.read(name, self._system, batch)
            board.add(name, maps[name], attribution, self._chooser.centres(name))
        grid, centres = (maps[chosen].shape[1], maps[chosen].shape[2]), self._chooser.centres(chosen)
        wanted = [place for place, index in enumerate(batch.indices) if self._first(index)]
        examples = self._examples(batch.select(wanted), [maps[chosen][place] for place in wanted])
        board.add_same(CENTRE, centre_disc(settings.map_size))
        if self._choice.mean_box is not None:
            board.add_same(MEAN_BOX, self._choice.mean_box)
        board.add(SALIENCY, saliency(self._choice.saliency, batch.middle.float() / 255).cpu().numpy())
        board.add(UNTRAINED, *self._chooser.read(chosen, self._fresh, batch), centres)
        truths = [batch.truth_in_square(place) for place in range(len(batch))]
        board.add(ORACLE, (oracle_map(truth, grid) for truth in truths if truth is not None))
        return examples

    def _unlocated(self, chunk: Chunk) -> list[Example]:
        """Of the set's first samples those without boxes: their maps are still worth looking at."""
        shown = chunk.shown
        first = [place for place, index in enumerate(shown.indices) if index < self._first.limit]
        places = [place for place in first if shown.truths[place] is None]
        if not places:
            return []
        batch = shown.select(places)
        maps, _ = self._chooser.read(self._choice.readout, self._system, batch)
        return self._examples(batch, list(maps))

    def _examples(self, batch: EvaluationBatch, maps: Sequence[Map]) -> list[Example]:
        if not len(batch):
            return []
        centres, features = self._chooser.centres(self._choice.readout), self.judged.trained.settings.features
        views = views_of(self._system, features, batch)
        each = [{name: values[place] for name, values in views.items()} for place in range(len(batch))]
        return [
            example_of(batch, place, maps[place], centres, each[place], self._evaluate, features.audio_rate_hz)
            for place in range(len(batch))
        ]

    @property
    def _choice(self) -> Choice:
        return self._chooser.choice

    def tables(self, found: Sequence[Located]) -> list[Table]:
        """One, with a row for each readout, the model's, the controls' and the ceiling's."""
        scores, without = self._together(found)
        details = {
            "readout": self._choice.readout,
            "validation_pointing": dict(self._choice.pointing),
            "validation_ciou_adap": dict(self._choice.localised),
            "placement": dict(self._choice.placement),
            "validation_overlap": {name: dict(found) for name, found in self._choice.overlap.items()},
            "samples": sum(len(one.samples) for one in found),
        }
        left_out = [f"readout {name} is left out: {why}" for name, why in self._chooser.reasons.items()]
        if not len(scores):
            reason = f"{self.judged.samples.url} has no boxes, so maps could not be judged"
            return [Table("localisation", "localisation", _COLUMNS, (), 0, notes=(reason, *left_out), details=details)]
        rows = self._rows(scores)
        return [
            Table(
                "localisation",
                "localisation",
                _COLUMNS,
                rows,
                len(scores),
                about=_ABOUT,
                notes=(self._how_judged(), *self._completeness(scores), *left_out),
                warnings=tuple(self._warnings(found, scores, rows, without)),
                headlines=_headlines({row.name: row for row in rows}),
                details=details,
            )
        ]

    def sample_scores(self, found: Sequence[Located]) -> list[SampleScores]:
        """Of all rows."""
        scores, _ = self._together(found)
        rows = {name: name for name in (*self._chooser.readouts, *SOUND_BLIND, UNTRAINED, SHUFFLED, ORACLE)}
        rows = {MODEL: self._choice.readout, **rows}
        return [scores.sample_scores("localisation", rows)] if len(scores) else []

    def _together(self, found: Sequence[Located]) -> tuple[Scores, int]:
        """All scores, and the samples without another sound, because of which that row has none."""
        scores = Scores()
        for one in found:
            scores += one.scores
        without = sum(one.without_other_sound for one in found)
        if without:
            scores.of.pop(SHUFFLED, None)
        return scores, without

    def files(self, found: Sequence[Located]) -> dict[str, bytes]:
        """Examples for the report."""
        examples = [example for one in found for example in one.examples]
        if not examples or not self._evaluate.examples:
            return {}
        return {EXAMPLES: as_npz(examples, self._evaluate.examples, self._choice.readout)}

    def _rows(self, scores: Scores) -> tuple[Row, ...]:
        """Top to bottom."""

        def row(name: str, kind: RowKind, of: str | None = None, made_by: str | None = None) -> Row:
            figures = dict(scores.figures(of or name))
            not_finite = figures.pop("not_finite")
            completeness = scores.completeness(of or name)
            details = {
                "not_finite": not_finite,
                "completeness": None if completeness is None else asdict(completeness),
            }
            readout = made_by or name
            cost = self._chooser.readout(readout).cost if readout in READOUTS else None
            return Row(name, kind, figures, {}, made_by, cost, details)  # type: ignore[arg-type]  # all left are floats

        chosen = self._choice.readout
        return (
            *(row(name, "readout") for name in self._chooser.readouts),
            row(MODEL, "model", chosen, chosen),
            row(CENTRE, "control"),
            row(MEAN_BOX, "control"),
            row(SALIENCY, "control", made_by=self._choice.saliency),
            row(UNTRAINED, "control", made_by=chosen),
            row(SHUFFLED, "control", made_by=chosen),
            row(ORACLE, "ceiling"),
        )

    def _how_judged(self) -> str:
        settings = self._evaluate
        geometry, corners = settings.judged_geometry, "on" if settings.align_corners else "off"
        return (
            f"maps are judged on {GEOMETRIES[geometry]} (evaluate.geometry={geometry}), resized with align_corners "
            f"{corners}{self._how_placed()}"
        )

    def _how_placed(self) -> str:
        moved = [name for name, placement in self._choice.placement.items() if placement == "centres"]
        if not moved:
            return ""
        by = "as fits the validation split better" if self._evaluate.placement == "measured" else "as asked for"
        return f"; values of {', '.join(moved)} lie at the centres of the tokens (evaluate.placement), {by}"

    def _completeness(self, scores: Scores) -> list[str]:
        found = ((name, scores.completeness(name)) for name in self._chooser.readouts)
        return [said_of_completeness(name, completeness) for name, completeness in found if completeness is not None]

    def _warnings(self, found: Sequence[Located], scores: Scores, rows: Sequence[Row], without: int) -> list[str]:
        samples = [sample for one in found for sample in one.samples]
        said = []
        if shared := count_shared(samples, self._validation):
            said.append(
                f"{shared} of {len(samples)} samples are also in the validation split, on which readout, saliency and "
                "mean box were chosen: they are judged on what they were chosen on"
            )
        if scores.empty_truths:
            said.append(
                f"the boxes of {scores.empty_truths} samples have no area, or none in the square that the model sees: "
                "they count as failures in every row"
            )
        if without:
            said.append(
                f"{SHUFFLED} was left out: for {without} samples there is no sound of another video that shares no "
                "class with theirs among those that were read with them"
            )
        told = {row.name for row in rows if row.kind == "readout"}
        return said + [
            f"{row.details['not_finite']} maps of {row.name} are not finite (NaN or infinite): they count as failures"
            for row in rows
            if row.details["not_finite"] and not (row.name == MODEL and row.made_by in told)
        ]


def count_shared(samples: Sequence[Identity], others: Sequence[Identity]) -> int:
    """How many samples also lie in another set, or have a video or all of their contents in common with one there."""
    contents, videos = {one.contents for one in others}, {one.video for one in others}
    return sum(one.contents in contents or one.video in videos for one in samples)


def _identities(chunk: Chunk) -> list[Identity]:
    known = zip(chunk.shown.metadata, chunk.contents, strict=True)
    return [Identity((metadata.video, metadata.source), contents) for metadata, contents in known]


def _headlines(rows: dict[str, Row]) -> tuple[Headline, ...]:
    """Pointing beside the best row that hears nothing, and in relation to it."""
    model = rows[MODEL].values["pointing"]
    found = {name: rows[name].values["pointing"] for name in SOUND_BLIND}
    blind = {name: value for name, value in found.items() if value is not None}
    if model is None or not blind:
        return ()
    best = max(blind, key=lambda name: blind[name])
    pointing = Headline("pointing accuracy", model, "share", ((best, blind[best]),))
    if not blind[best]:
        return (pointing,)
    oracle = rows[ORACLE].values["pointing"]
    ceiling = () if oracle is None else (("ceiling", oracle / blind[best]),)
    ratio = Headline("model ÷ best sound-blind row", model / blind[best], "ratio", ((best, None), *ceiling))
    return pointing, ratio
