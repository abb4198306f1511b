"""Event-Strips: what is both seen and heard in each segment, and where."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.evaluate.measures.contract import Column, Row, RowKind, Table
from pipeline.evaluate.metrics.roc import area_under_roc
from pipeline.evaluate.shortcuts.learners import Features, Ridge, colours, spectrum
from pipeline.evaluate.shortcuts.maps import COLUMNS, MapScores, best_of, mask_of, mean_mask
from pipeline.evaluate.shortcuts.world_files import WorldFiles, WorldVideo
from pipeline.samples.metadata import Box
from pipeline.video.clip import Pixels
from pipeline.worlds.instruments import NAMES

_NOTHING = len(NAMES)
"""Number of the class of segments without an event."""
_COLUMNS = (
    Column("accuracy", "segments"),
    Column("events", "events"),
    Column("background", "background"),
    Column("auroc", "AUROC event"),
    Column("auroc_off_screen", "AUROC off-screen"),
)


@dataclass(frozen=True)
class SegmentSample:
    """A segment, decoded.

    Attributes:
        frame: its middle frame.
        seen, heard: features of it and of its sound.
        truth: what the world says of it.
        event: class number, or that of none.
        usual: the class that most of its video's events have.
    """

    frame: Pixels
    seen: Features
    heard: Features
    truth: dict[str, Any]
    event: int
    usual: int

    @property
    def classes_seen(self) -> list[int]:
        """What the truth says is seen."""
        return [NAMES.index(sprite["class"]) for sprite in self.truth["sprites"]]

    @property
    def class_heard(self) -> int:
        """What the truth says is heard, or none."""
        heard = self.truth["heard"]
        return _NOTHING if heard is None else NAMES.index(heard["class"])


@dataclass(frozen=True)
class Guess:
    """What a predictor says of a segment: a class or none, and how sure it is of any event."""

    event: int
    confidence: float


def check(world: WorldFiles) -> list[Table]:
    """What shortcuts reach on the test split, where the training split tells them what is an event."""
    known = [segment for video in world.videos("train") for segment in segments_of(video)]
    asked = [segment for video in world.videos("test") for segment in segments_of(video)]
    return [_events(known, asked), _localisation(known, asked)]


def segments_of(video: WorldVideo) -> list[SegmentSample]:
    """The segments of a video."""
    told = video.truth["segments"]
    events = [_NOTHING if one["event"] is None else NAMES.index(one["event"]) for one in told]
    counts = Counter(event for event in events if event != _NOTHING)
    usual = counts.most_common(1)[0][0] if counts else _NOTHING
    samples, frames = round(video.truth["segment_s"] * video.rate_hz), len(video.frames) // len(told)
    found = []
    for place, (one, event) in enumerate(zip(told, events, strict=True)):
        frame = np.asarray(video.frames[place * frames + frames // 2])
        sound = video.sound[place * samples : (place + 1) * samples]
        found.append(SegmentSample(frame, colours(frame), spectrum(sound), one, event, usual))
    return found


def _events(known: Sequence[SegmentSample], asked: Sequence[SegmentSample]) -> Table:
    random = np.random.default_rng(0)
    by_sound = _learnt(known, asked, "heard")
    by_sight = _learnt(known, asked, "seen")
    guesses: dict[str, tuple[RowKind, list[Guess]]] = {
        "any class, or none": (
            "control",
            [Guess(int(random.integers(_NOTHING + 1)), float(random.random())) for _ in asked],
        ),
        "never an event": ("control", [Guess(_NOTHING, 0.0) for _ in asked]),
        "always on: the video's class everywhere (told)": ("control", [Guess(one.usual, 0.0) for one in asked]),
        "sound alone (learnt)": ("control", by_sound),
        "sound alone: what is heard, always (told)": (
            "control",
            [Guess(one.class_heard, float(one.class_heard != _NOTHING)) for one in asked],
        ),
        "picture alone (learnt)": ("control", by_sight),
        "picture alone: something that is seen, always (told)": (
            "control",
            [
                Guess(int(random.choice(seen)) if (seen := one.classes_seen) else _NOTHING, float(bool(seen)))
                for one in asked
            ],
        ),
        "what is heard is seen (learnt apart)": ("other", _agreement(known, asked)),
        "what is heard is seen (told)": (
            "ceiling",
            [
                Guess(one.class_heard, 1.0) if one.class_heard in one.classes_seen else Guess(_NOTHING, 0.0)
                for one in asked
            ],
        ),
    }
    rows = tuple(Row(name, kind, _figures(guess, asked)) for name, (kind, guess) in guesses.items())
    notes = (
        "AUROC off-screen: seen and heard against another class heard than seen. told: the row is told by the truth "
        "what a perfect ear or eye would find out.",
    )
    return Table("events", "what is seen and heard in each segment", _COLUMNS, rows, len(asked), notes=notes)


def _figures(guesses: Sequence[Guess], asked: Sequence[SegmentSample]) -> dict[str, float | None]:
    right = np.array([guess.event == one.event for guess, one in zip(guesses, asked, strict=True)])
    events = np.array([one.event != _NOTHING for one in asked])
    sure = np.array([guess.confidence for guess in guesses])
    heard = np.array([one.truth["kind"] in ("seen_and_heard", "off_screen") for one in asked])
    return {
        "accuracy": float(right.mean()),
        "events": float(right[events].mean()) if events.any() else None,
        "background": float(right[~events].mean()) if not events.all() else None,
        "auroc": area_under_roc(sure[events], sure[~events]),
        "auroc_off_screen": area_under_roc(sure[heard & events], sure[heard & ~events]),
    }


def _learnt(known: Sequence[SegmentSample], asked: Sequence[SegmentSample], what: str) -> list[Guess]:
    """Events from one modality alone."""
    judge = Ridge(np.stack([getattr(one, what) for one in known]), [one.event for one in known], _NOTHING + 1)
    scores = judge.scores(np.stack([getattr(one, what) for one in asked]))
    return [Guess(int(row.argmax()), -float(row[_NOTHING])) for row in scores]


def _agreement(known: Sequence[SegmentSample], asked: Sequence[SegmentSample]) -> list[Guess]:
    """Which class is heard, and whether that class is among those seen: two classifiers that never meet."""
    ear = Ridge(np.stack([one.heard for one in known]), [one.class_heard for one in known], _NOTHING + 1)
    seen = np.stack([one.seen for one in known])
    eyes = [Ridge(seen, [int(c in one.classes_seen) for one in known], 2) for c in range(_NOTHING)]
    heard = ear.scores(np.stack([one.heard for one in asked]))
    visible = np.stack([eye.scores(np.stack([one.seen for one in asked]))[:, 1] for eye in eyes], axis=1)
    guesses = []
    for ear_says, eye_says in zip(heard, visible, strict=True):
        loudest = int(ear_says.argmax())
        if loudest == _NOTHING:
            guesses.append(Guess(_NOTHING, -float(ear_says[_NOTHING])))
        else:
            guesses.append(Guess(loudest if eye_says[loudest] > 0.5 else _NOTHING, float(eye_says[loudest])))
    return guesses


def _localisation(known: Sequence[SegmentSample], asked: Sequence[SegmentSample]) -> Table:
    """Where the event is, in segments that have one."""
    random = np.random.default_rng(0)
    events = [one for one in asked if one.event != _NOTHING]
    size = len(asked[0].frame)
    elsewhere = mean_mask([_box_of_event(one) for one in known if one.event != _NOTHING], size)
    scores = MapScores()
    for one in events:
        truth = mask_of(_box_of_event(one), size)
        boxes: list[Box] = [sprite["box"] for sprite in one.truth["sprites"]]
        scores.groups.append(None)
        scores.add_common(one.frame, truth, random)
        drawn = list(random.random(len(boxes)))
        scores.add("any instrument (told where they are)", best_of(boxes, drawn, size), truth)
        scores.add("mean box of the training split", elsewhere, truth)
        scores.add("truth", truth.astype(np.float32), truth, "ceiling")
    return Table("localisation", "where the event is", COLUMNS[:2], scores.rows(), len(events))


def _box_of_event(segment: SegmentSample) -> list[Box]:
    sprites = segment.truth["sprites"]
    return [sprite["box"] for sprite in sprites if sprite["class"] == NAMES[segment.event]]
