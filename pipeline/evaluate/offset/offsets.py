"""`gavt offset`: by how much sound and picture of each video of a list are apart."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cluster.errors import WorkerPoolError
from cluster.isolation import Isolated
from cluster.masking import mask_url, mask_urls
from cluster.pace import LocalPace, Pace
from cluster.scratch import scratch_folder
from pipeline.errors import MediaError
from pipeline.evaluate.offset.judge import Judged, judge_video
from pipeline.prepare.fetch.fetched import fetched
from pipeline.prepare.fetch.settings import FetchSettings
from pipeline.prepare.manifests.offsets import OffsetEntry
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.supervised import deadline_s, supervised
from pipeline.prepare.video_samples import prepare_video
from pipeline.reasons import Reason

if TYPE_CHECKING:
    from cluster.ray_pool import RayPool
    from pipeline.evaluate.offset.by_model import ModelDetector

ONSETS = "onsets"
"""What the detector that needs no training calls itself."""


_ROWS_PER_TASK = 32
Judge = Callable[[float, VideoRow, str], Judged]
"""(deadline in s, row, where its bytes lie) → what was found."""


@dataclass(frozen=True)
class OffsetTask:
    """Videos to judge: everything that a worker anywhere needs to know.

    Attributes:
        settings: of how long a part of each video (`max_clip_s`, from its middle), and what it may cost (`limits`).
        range_s: offsets are looked for within ± so many seconds.
        sure: confidence from which an offset is told.
        scratch: local folder for what is fetched; None takes the system's for temporary files.
    """

    settings: PrepareSettings
    fetch: FetchSettings
    range_s: float
    sure: float
    rows: Sequence[VideoRow] = ()
    scratch: Path | None = None
    pace: Pace = field(default_factory=LocalPace)


def judge_list(
    rows: Iterable[VideoRow], task: OffsetTask, pool: "RayPool | None" = None, model: "ModelDetector | None" = None
) -> Iterator[OffsetEntry]:
    """What was found in each video of a list; with a pool of workers in no order.

    Args:
        task: what is asked of each, without rows.
        model: asked instead of the onsets; without a pool.

    Raises:
        WorkerPoolError: workers died too often over the same videos.
        StorageError: as of `judge_videos`.
    """
    left = iter(rows)
    tasks = (replace(task, rows=some) for some in iter(lambda: list(islice(left, _ROWS_PER_TASK)), []))
    if pool is None:
        for one in tasks:
            yield from judge_videos(one, model)
        return
    pace, fetch = pool.pace(), task.fetch.with_absolute_paths()
    placed = (replace(one, fetch=fetch, scratch=pool.folder, pace=pace) for one in tasks)
    waiting: dict[str, list[OffsetEntry]] = {}
    for step in pool.map_unordered(judge_videos, placed):
        first = step.item.rows[0].video
        if step.state == "value" and step.value is not None:
            waiting.setdefault(first, []).append(step.value)
        elif step.state == "done":
            yield from waiting.pop(first, [])
        else:
            waiting.pop(first, None)
            if step.state == "lost":
                raise WorkerPoolError(f"the workers for {first} and the videos behind it died: {step.message}")


def judge_videos(task: OffsetTask, model: "ModelDetector | None" = None) -> Iterator[OffsetEntry]:
    """What was found in each video, in order; whatever is wrong with one becomes a reason.

    Raises:
        StorageError: there is no room for what is fetched.
    """
    with (
        scratch_folder("gavt-offset-", None if task.scratch is None else str(task.scratch)) as scratch,
        _by_onsets(task) if model is None else _by_model(task, model) as judge,
        closing(fetched(task.rows, task.fetch, scratch, task.pace)) as sources,
    ):
        for source in sources:
            row, place = source.row, source.place
            try:
                if place is None:
                    raise source.problem or MediaError(Reason.UNREACHABLE, "nothing came")
                judged = supervised(partial(judge, deadline_s(place, task.settings.limits), row, place))
                yield _entry(row, judged, task.sure, ONSETS if model is None else model.trained.url)
            except MediaError as error:
                yield _about(row, "failed", reason=str(error.reason), message=mask_urls(str(error)))


@contextmanager
def _by_onsets(task: OffsetTask) -> Iterator[Judge]:
    limits = task.settings.limits
    with Isolated(judge_video, limits.deadline_s, limits.memory_mb, limits.videos_per_process) as process:

        def judge(deadline_s: float, row: VideoRow, place: str) -> Judged:
            return process.call(deadline_s, row, task.settings, task.range_s, place)

        yield judge


@contextmanager
def _by_model(task: OffsetTask, model: "ModelDetector") -> Iterator[Judge]:
    """Clips come from a process of their own; the model is asked here."""
    limits, settings = task.settings.limits, model.clip_settings(task.settings)
    with Isolated(prepare_video, limits.deadline_s, limits.memory_mb, limits.videos_per_process) as process:

        def judge(deadline_s: float, row: VideoRow, place: str) -> Judged:
            return Judged(model.judge(process.call(deadline_s, row, settings, place).samples), model.within_s)

        yield judge


def _entry(row: VideoRow, judged: Judged, sure: float, by: str) -> OffsetEntry:
    apart, within_s = judged.apart, round(judged.within_s, 6)
    confidence = 0.0 if apart is None else round(apart.confidence, 4)
    if apart is None or apart.confidence < sure:
        return _about(row, "unsure", confidence=confidence, within_s=within_s, by=by)
    found = {"offset_s": round(apart.offset_s, 4), "every_s": apart.every_s}
    return _about(row, "told", confidence=confidence, within_s=within_s, by=by, **found)


def _about(row: VideoRow, status: Literal["told", "unsure", "failed"], **known: float | str | None) -> OffsetEntry:
    about = {"video": row.video, "source": mask_url(row.source), "start_s": row.start_s, "end_s": row.end_s}
    return OffsetEntry.model_validate({**about, "status": status, **known})
