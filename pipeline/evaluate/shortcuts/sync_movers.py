"""Sync-Movers: which object moves with the sound, whether one does, and by how much the sound is shifted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.measures.contract import Column, Row, RowKind, Table
from pipeline.evaluate.metrics.resize import resize_map
from pipeline.evaluate.metrics.roc import area_under_roc
from pipeline.evaluate.shortcuts.learners import Features, Ridge, colours, spectrum
from pipeline.evaluate.shortcuts.maps import COLUMNS, MapScores, best_of, mask_of, mean_mask
from pipeline.evaluate.shortcuts.world_files import WorldFiles, WorldVideo
from pipeline.samples.metadata import Box
from pipeline.video.clip import Pixels
from pipeline.worlds.settings import SPLITS

_OFF_SCREEN = "_off_screen"
_CELLS = 24
"""Movement is looked at in cells, so many a frame's side."""
_LARGEST_SHIFT = 10
_SHIFT_S = 0.1
"""Shifts of the sound that are to be told: −10 … 10 tenths of a second."""
_CROP = 12


@dataclass(frozen=True)
class Clip:
    """What is left of a decoded video.

    Attributes:
        row: of its manifest.
        truth: its JSON.
        middle: the middle frame.
        starts: [T, cells, cells], by how much each cell moves more than it did between the two frames before.
        amount: [cells, cells], how much it moves in all.
        onsets: [T], by how much the sound grows louder from frame to frame, log-energy.
        spectrum: of the sound.
        loudness: mean square of the sound.
    """

    row: dict[str, Any]
    truth: dict[str, Any]
    middle: Pixels
    starts: npt.NDArray[np.float32]
    amount: npt.NDArray[np.float32]
    onsets: npt.NDArray[np.float64]
    spectrum: Features
    loudness: float

    @classmethod
    def of(cls, video: WorldVideo) -> "Clip":
        """Of a decoded video."""
        gray = video.frames.mean(axis=-1, dtype=np.float32)
        moved = _gathered(_in_cells(np.abs(np.diff(gray, axis=0, prepend=gray[:1]))))
        starts = np.clip(np.diff(moved, axis=0, prepend=moved[:1]), 0, None)
        onsets, loudness = _onsets(video, len(gray)), float((video.sound**2).mean())
        return cls(
            video.row, video.truth, video.middle, starts, moved.mean(axis=0), onsets, spectrum(video.sound), loudness
        )

    @property
    def boxes(self) -> list[Box]:
        """Envelopes of its objects."""
        return [mover["envelope"] for mover in self.truth["movers"]]

    def match(self, onsets: npt.NDArray[np.float64] | None = None, shift: int = 0) -> npt.NDArray[np.float64]:
        """How well each cell [cells, cells] moves with a sound, its own unless told, −1…1.

        Args:
            shift: frames by which the picture is moved against it.
        """
        heard = self.onsets if onsets is None else onsets
        heard = heard[max(0, -shift) : len(heard) - max(0, shift)]
        seen = self.starts[max(0, shift) : len(self.starts) + min(0, shift)]
        heard, seen = heard - heard.mean(), seen - seen.mean(axis=0)
        length = np.sqrt((seen**2).sum(axis=0))
        length = length + 0.25 * length.max()  # noise matches by chance: what hardly moves counts less
        together = np.einsum("t,thw->hw", heard, seen)
        return np.asarray(together / (length * np.sqrt((heard**2).sum()) + 1e-9))


def check(world: WorldFiles) -> list[Table]:
    """What shortcuts reach on the test split, where the other splits tell them what moves with the sound."""
    known = [Clip.of(video) for split in SPLITS[:2] for video in world.videos(split)]
    known_off = [Clip.of(video) for split in SPLITS[:2] for video in world.videos(f"{split}{_OFF_SCREEN}")]
    on = [Clip.of(video) for video in world.videos("test")]
    off = [Clip.of(video) for video in world.videos(f"test{_OFF_SCREEN}")]
    with_off = [_off_screen([*known, *known_off], [*on, *off])] if off and known_off else []
    return [_localisation(known, on), *with_off, _offset(on)]


def _localisation(known: Sequence[Clip], on: Sequence[Clip]) -> Table:
    random, size = np.random.default_rng(0), len(on[0].middle)
    looks = np.stack([_look(clip, place) for clip in known for place in range(len(clip.boxes))])
    judge = Ridge(looks, [int(place == clip.truth["mover"]) for clip in known for place in range(len(clip.boxes))], 2)
    elsewhere = mean_mask([clip.row["boxes"] for clip in known], size)
    scores = MapScores()
    for clip in on:
        truth, boxes, match = mask_of(clip.row["boxes"], size), clip.boxes, clip.match()
        scores.groups.append(clip.row.get("group"))
        scores.add_common(clip.middle, truth, random)
        scores.add("mean box of the other splits", elsewhere, truth)
        scores.add("motion", resize_map(clip.amount, size), truth)
        scores.add("what moves with the sound", resize_map(match, size), truth, "other")
        liked = judge.scores(np.stack([_look(clip, place) for place in range(len(boxes))]))[:, 1]
        chosen: dict[str, tuple[RowKind, Sequence[float]]] = {
            "any object (told where they are)": ("control", list(random.random(len(boxes)))),
            "the object nearest to the centre (told)": ("control", [_nearness(box) for box in boxes]),
            "the object that moves most (told)": ("control", [_inside(clip.amount, box) for box in boxes]),
            "look, place and motion of objects (learnt)": ("control", list(liked)),
            "the object that moves with the sound (told)": ("other", [_inside(match, box) for box in boxes]),
        }
        for name, (kind, values) in chosen.items():
            scores.add(name, best_of(boxes, values, size), truth, kind)
        scores.add("truth", truth.astype(np.float32), truth, "ceiling")
    notes = (
        "cIoU_adap: share of videos whose mover is met with an IoU of at least 0.5, by as much area as it has.",
        "told: the row is told by the truth where the objects are.",
    )
    return Table("localisation", "which object moves with the sound", COLUMNS, scores.rows(), len(on), notes=notes)


def _off_screen(known: Sequence[Clip], asked: Sequence[Clip]) -> Table:
    """Does any object move with the sound?"""
    is_on = np.array([bool(clip.row["boxes"]) for clip in asked])

    def told(scores: Features) -> float | None:
        return area_under_roc(scores[is_on], scores[~is_on])

    def by(figure: Callable[[Clip], float]) -> float | None:
        return told(np.array([figure(clip) for clip in asked]))

    def learnt(features: Callable[[Clip], Features]) -> float | None:
        judge = Ridge(np.stack([features(clip) for clip in known]), [int(bool(clip.row["boxes"])) for clip in known], 2)
        return told(judge.scores(np.stack([features(clip) for clip in asked]))[:, 1])

    figures: dict[str, tuple[RowKind, float | None]] = {
        "always on": ("control", by(lambda clip: 0.0)),
        "loudness": ("control", by(lambda clip: clip.loudness)),
        "amount of motion": ("control", by(lambda clip: float(clip.amount.mean()))),
        "sound alone (learnt)": ("control", learnt(_heard)),
        "picture alone (learnt)": ("control", learnt(_seen)),
        "best match of motion and sound": ("other", by(lambda clip: float(clip.match().max()))),
    }
    rows = tuple(Row(name, kind, {"auroc": value}) for name, (kind, value) in figures.items())
    return Table("off_screen", "whether an object moves with the sound", (Column("auroc", "AUROC"),), rows, len(asked))


def _offset(on: Sequence[Clip]) -> Table:
    """By which of 21 shifts was the sound moved?"""
    shifts = np.random.default_rng(1).integers(-_LARGEST_SHIFT, _LARGEST_SHIFT + 1, len(on))
    errors = []
    for clip, shift in zip(on, shifts, strict=True):
        step = _SHIFT_S * clip.truth["fps"]
        moved = np.roll(clip.onsets, round(shift * step))
        guesses = range(-_LARGEST_SHIFT, _LARGEST_SHIFT + 1)
        matches = [float(clip.match(moved, -round(guess * step)).max()) for guess in guesses]
        errors.append(abs(guesses[int(np.argmax(matches))] - int(shift)))
    count = 2 * _LARGEST_SHIFT + 1
    chance = {"first": 1 / count, "near": (3 * count - 2) / count**2}
    reached = {"first": float(np.mean([e == 0 for e in errors])), "near": float(np.mean([e <= 1 for e in errors]))}
    rows = (
        Row("chance; sound or picture alone can't pass it", "control", {**chance}),
        Row("best match of motion and sound", "other", {**reached}),
    )
    title = f"by which of {count} shifts of {_SHIFT_S} s the sound was moved"
    return Table("synchronisation", title, (Column("first", "acc@1"), Column("near", "±1 class")), rows, len(on))


def _in_cells(change: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means [T, cells, cells] over the cells of [T, H, W]."""
    for axis in (1, 2):
        edges = np.round(np.linspace(0, change.shape[axis], _CELLS + 1)).astype(int)
        width = np.diff(edges).reshape([-1 if one == axis else 1 for one in range(3)])
        change = np.asarray(np.add.reduceat(change, edges[:-1], axis=axis) / width, np.float32)
    return change


def _gathered(cells: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Sums over 5 × 5 cells, about the size of an object."""
    padded = np.pad(cells, ((0, 0), (2, 2), (2, 2)))
    rows = np.sum([padded[:, place : place + _CELLS] for place in range(5)], axis=0)
    return np.asarray(np.sum([rows[:, :, place : place + _CELLS] for place in range(5)], axis=0))


def _onsets(video: WorldVideo, frames: int) -> npt.NDArray[np.float64]:
    """By how much each stretch of the sound between two frames is louder than the one before [T], in logs."""
    bounds = np.round(np.arange(-1, frames) * video.rate_hz / video.truth["fps"]).astype(int)
    high = np.diff(video.sound, prepend=0.0)  # attacks are bright
    pairs = zip(np.clip(bounds[:-1], 0, None), bounds[1:], strict=True)
    energy = np.log([(high[a:b] ** 2).mean() + 1e-8 if b > a else 1e-8 for a, b in pairs])
    return np.clip(np.diff(energy, prepend=energy[:1]), 0, None)


def _inside(cells: npt.NDArray[np.floating], box: Box) -> float:
    """Mean of what lies in a box."""
    return float(cells[_cells_of(box)].mean())


def _cells_of(box: Box) -> tuple[slice, slice]:
    x1, y1, x2, y2 = (int(_CELLS * corner) for corner in box)
    return slice(y1, y2 + 1), slice(x1, x2 + 1)


def _nearness(box: Box) -> float:
    """How near a box lies to the centre."""
    x1, y1, x2, y2 = box
    return -float(np.hypot((x1 + x2) / 2 - 0.5, (y1 + y2) / 2 - 0.5))


def _look(clip: Clip, place: int) -> Features:
    """How an object looks, where it lies, and how much and when it moves, without the sound."""
    box, size = clip.boxes[place], len(clip.middle)
    x1, y1, x2, y2 = (int(size * corner) for corner in box)
    crop = resize_map(clip.middle[y1:y2, x1:x2].mean(axis=-1), _CROP).ravel() / 255
    rows, columns = _cells_of(box)
    track = clip.starts[:, rows, columns].mean(axis=(1, 2))
    share = _inside(clip.amount, box) / clip.amount.mean()
    told = [*box, _nearness(box), share, track.mean(), track.std(), track.max(), float(track.argmax()) / len(track)]
    return np.concatenate([crop - crop.mean(), told])


def _heard(clip: Clip) -> Features:
    onsets = clip.onsets
    return np.concatenate([clip.spectrum, onsets, [onsets.mean(), onsets.std(), (onsets > 1).sum()]])


def _seen(clip: Clip) -> Features:
    total = clip.starts.mean(axis=(1, 2))
    return np.concatenate([colours(clip.middle), total, [total.std(), clip.amount.max(), clip.amount.std()]])
