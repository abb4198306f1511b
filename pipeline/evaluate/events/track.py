"""What a model says of the segments of a video."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.errors import SettingsError
from pipeline.evaluate.events.windows import Segments, Window, windows_of
from pipeline.evaluate.metrics.resize import Centres, Map
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.models.attention import Attention
from pipeline.models.contract import AUDIO, VISUAL, AudioVisualModel
from pipeline.samples.metadata import Box
from pipeline.tasks.classification import Classification
from pipeline.tasks.events import Events
from pipeline.tasks.task import objective
from pipeline.train.load import Trained

Shares = npt.NDArray[np.float32]
BOTH = "both"
"""What happens is seen and heard."""
_AT_ONCE = 4
"""Windows that the model is given together."""
_MAPS = "maps"
_HALF = 0.5


@dataclass(frozen=True)
class EventTrack:
    """What happens in each segment of a video.

    Attributes:
        classes: C names; the last is `background`, where nothing is both seen and heard.
        segments: [N] numbers of the segments that were told, rising; those whose sound has a hole are missing.
        segment_s: length of a segment; number n begins n times that from the video's zero.
        probabilities: [N, C], the mean over the windows that show a segment.
        apart: likewise, without background, by `seen` and `heard` how likely each class is to be; empty of a model
            that doesn't tell them apart.
        maps: [N, h, w] how far each place of the segment's frame goes with its sound, adding up to 1; None of a model
            that doesn't say.
        square: where in the upright frame the maps lie, `[x1, y1, x2, y2]` in 0–1; beyond it where bars are.
        centres: where in the square the values of the maps lie.
    """

    classes: tuple[str, ...]
    segments: npt.NDArray[np.int64]
    segment_s: float
    probabilities: Shares
    apart: Mapping[str, Shares]
    maps: Map | None
    square: Box
    centres: Centres | None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What happens, by its begin: consecutive segments of which the same class is the surest, which are `both` seen
        and heard; and where they are told apart, those in which a class is `seen`, or `heard`, by more than a half.
        `confidence` is the mean probability."""
        surest = [self.surest(place) for place in range(len(self.segments))]
        found = []
        for number, name in enumerate(self.classes[:-1]):
            happens = {BOTH: (np.array([one == name for one in surest]), self.probabilities[:, number])}
            happens |= {what: (likely[:, number] > _HALF, likely[:, number]) for what, likely in self.apart.items()}
            for what, (there, likely) in happens.items():
                for places in self._stretches(there):
                    begin, end = self.segments[places[0]], self.segments[places[-1]] + 1
                    row = {"begin_s": float(begin * self.segment_s), "end_s": float(end * self.segment_s)}
                    found.append(row | {"class": name, "what": what, "confidence": float(likely[places].mean())})
        return sorted(found, key=lambda row: (row["begin_s"], row["end_s"]))

    def likely(self, name: str, what: str) -> Shares:
        """[N] how likely a class is to be seen, heard or both in each segment."""
        return (self.probabilities if what == BOTH else self.apart[what])[:, self.classes.index(name)]

    def surest(self, place: int) -> str | None:
        """The surest class of a segment that was told; None where nothing happens."""
        number = int(self.probabilities[place].argmax())
        return self.classes[number] if number < len(self.classes) - 1 else None

    @property
    def end_s(self) -> float:
        """When the last segment that was told is over."""
        return float(self.segments[-1] + 1) * self.segment_s

    def _stretches(self, there: npt.NDArray[np.bool_]) -> list[list[int]]:
        """Places of consecutive segments in which something is there."""
        found: list[list[int]] = []
        for place in np.flatnonzero(there).tolist():
            if found and self.segments[found[-1][-1]] == self.segments[place] - 1:
                found[-1].append(place)
            else:
                found.append([place])
        return found

    @property
    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """All of it, as `gavt events` writes it."""
        found = {
            "classes": np.array(self.classes),
            "begin_s": self.segments * self.segment_s,
            "segment_s": np.array(self.segment_s),
            "probabilities": self.probabilities,
            "square": np.array(self.square),
            **self.apart,
        }
        if self.maps is None:
            return found
        centres = self.centres or Centres.even(*self.maps.shape[1:])
        return found | {"maps": self.maps, "rows": np.array(centres.rows), "columns": np.array(centres.columns)}


def told_of(trained: Trained) -> Classification:
    """The head of a model that tells segments.

    Raises:
        SettingsError: it has none, or the model takes what a video doesn't show.
    """
    task = objective(trained.system.task, Classification)
    if task is None or not task.settings.has_background:
        raise SettingsError(
            f"{trained.url}: expected a model that tells what happens in each segment (task.kind = events), found one "
            f"trained by task.kind = {trained.settings.task.kind}"
        )
    return task


@torch.no_grad()
def tell_events(
    source: str,
    trained: Trained,
    settings: EvaluateSettings,
    on_progress: Callable[[float, float], None] = lambda done, total: None,
) -> EventTrack:
    """Watch a video: in each window the model tells each segment, and what several windows say of one is averaged.

    Args:
        on_progress: told (seconds done, seconds in all).

    Raises:
        MediaError: the source is no video with sound, or can't be decoded.
        SettingsError: as of `told_of`.
    """
    task, model = told_of(trained), trained.system.model
    sums = _Sums()
    for group in _in_groups(windows_of(source, trained.settings.features, settings.shown_geometry)):
        cut = group[0][0]
        windows = [window for _, window in group]
        inputs = {
            name: torch.stack([window.inputs[name] for window in windows]).to(trained.device)
            for name in windows[0].inputs
        }
        embedded = model.embed(inputs)
        encoded = model.fuse(embedded, attention=True)
        told = {BOTH: task.logits(encoded).float().softmax(-1).cpu().numpy()}
        if isinstance(task, Events):
            told |= {what: one.float().sigmoid().cpu().numpy() for what, one in task.tell_apart(embedded).items()}
        if (maps := maps_of(model, encoded.attention)) is not None:
            told[_MAPS] = maps
        for place, window in enumerate(windows):
            for number in range(min(cut.at_once, cut.count - window.first)):
                sums.add(window.first + number, {name: values[place, number] for name, values in told.items()})
        sums.square = windows[0].square
        on_progress(
            float(min(windows[-1].first + cut.at_once, cut.count) * cut.length_s), float(cut.count * cut.length_s)
        )
    return sums.track(task.settings.answers, float(cut.length_s), _centres(model))


@dataclass
class _Sums:
    """What windows say, by the number of the segment: probabilities, and maps."""

    said: dict[int, list[Mapping[str, Shares]]] = field(default_factory=dict)
    square: Box = (0.0, 0.0, 1.0, 1.0)

    def add(self, segment: int, told: Mapping[str, Shares]) -> None:
        """Of one more window."""
        self.said.setdefault(segment, []).append(told)

    def track(self, classes: tuple[str, ...], segment_s: float, centres: Centres | None) -> EventTrack:
        """The means."""
        segments = sorted(self.said)
        means = {
            name: np.stack([np.mean([one[name] for one in self.said[segment]], axis=0) for segment in segments])
            for name in self.said[segments[0]][0]
        }
        likely, maps = means.pop(BOTH), means.pop(_MAPS, None)
        return EventTrack(classes, np.array(segments), segment_s, likely, means, maps, self.square, centres)


def maps_of(model: AudioVisualModel, attention: Attention | None) -> Map | None:
    """[B, T, h, w] how far each segment's sound looks at each place of its own frame, the mean over heads in the last
    layer; None of a model whose sounds don't look at frames segment by segment."""
    between = None if attention is None else attention.between(AUDIO, VISUAL)
    if not between:
        return None
    times, *grid = model.grids[VISUAL].shape
    looked = between[max(between)].whole().mean(1)
    if looked.shape[1] != times:
        return None
    by_segment = looked.view(len(looked), times, times, *grid)
    own = torch.stack([by_segment[:, time, time] for time in range(times)], 1)
    return own.float().cpu().numpy()


def _centres(model: AudioVisualModel) -> Centres | None:
    grid = model.grids[VISUAL]
    centres = Centres(grid.centres("row"), grid.centres("column"))
    return None if centres.are_even else centres


def _in_groups(windows: Iterator[tuple[Segments, Window]]) -> Iterator[list[tuple[Segments, Window]]]:
    while group := list(islice(windows, _AT_ONCE)):
        yield group
