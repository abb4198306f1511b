"""Making one shard: its videos are fetched, decoded in a supervised process and written to a tar in local scratch."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from cluster import storage
from cluster.isolation import Isolated
from cluster.masking import mask_url, mask_urls
from cluster.pace import LocalPace, Pace
from cluster.scratch import scratch_folder
from pipeline.errors import MediaError
from pipeline.prepare.fetch.fetched import fetched
from pipeline.prepare.fetch.settings import FetchSettings
from pipeline.prepare.layouts.sample import EncodedSample, PreparedVideo
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.settings import LimitSettings, PrepareSettings
from pipeline.prepare.supervised import deadline_s, supervised
from pipeline.prepare.video_samples import prepare_video
from pipeline.reasons import Reason
from pipeline.shards.ledger import InputEntry
from pipeline.shards.shard_files import SampleEntry, publish_shard, read_indexes, replace_shard, shard_name
from pipeline.shards.tar_run import read_members
from pipeline.shards.writer import ShardWriter

_TELL_EVERY_S = 1.0


@dataclass(frozen=True)
class ShardTask:
    """A shard to make: everything that a worker anywhere needs to know.

    Attributes:
        retry: reasons; the shard is there, and only its videos that failed for one of these are done again.
        scratch: local folder to build the tar in; None takes the system's for temporary files.
        pace: how often a host may be asked; shared by all workers.
    """

    number: int
    rows: list[VideoRow]
    out: str
    settings: PrepareSettings
    fetch: FetchSettings = field(default_factory=FetchSettings)
    retry: frozenset[str] = frozenset()
    scratch: Path | None = None
    pace: Pace = field(default_factory=LocalPace)


Decoder = Callable[[float, VideoRow, PrepareSettings, str], PreparedVideo]
"""(deadline in s, row, settings, where its bytes lie) → its samples."""


def build_shard(task: ShardTask, decode: Decoder | None = None) -> Iterator[list[InputEntry]]:
    """Make a shard, or do the failed videos of one again; gives the entries of videos as they are done, about once a
    second, and ends when the shard is published.

    Args:
        decode: None takes a process that this one keeps from shard to shard.

    Raises:
        StorageError: the shard can't be read or written.
    """
    with scratch_folder("gavt-shard-", None if task.scratch is None else str(task.scratch)) as scratch:
        path = scratch / f"{shard_name(task.number)}.tar"
        earlier = _Earlier(task, scratch) if task.retry else None
        inputs: list[InputEntry] = []
        new: list[InputEntry] = []
        tell_at = time.monotonic() + _TELL_EVERY_S
        with ShardWriter(path) as shard:
            for prepared, entry in _videos(task, scratch, earlier, decode or _kept(task.settings.limits).call):
                for sample in prepared:
                    shard.add(sample.key, sample.files)
                inputs.append(entry)
                if earlier is None or earlier.failed(entry.video):
                    new.append(entry)
                if time.monotonic() >= tell_at:
                    yield new
                    new, tell_at = [], time.monotonic() + _TELL_EVERY_S
        index = shard.index(inputs)
        if earlier is None:
            publish_shard(task.out, task.number, path, index)
        else:
            replace_shard(task.out, task.number, path, index)
        yield new


def decode_row(
    row: VideoRow, place: str, settings: PrepareSettings, decode: Decoder, attempts: int = 1
) -> tuple[PreparedVideo, InputEntry]:
    """A video's samples and its line of the ledger; whatever is wrong with the video becomes a reason there."""
    try:
        prepared = supervised(lambda: decode(deadline_s(place, settings.limits), row, settings, place))
    except MediaError as error:
        return PreparedVideo(), _failed(row, error.reason, str(error), attempts)
    entry = InputEntry(
        video=row.video,
        source=row.source,
        status="ok",
        message=_to_be_said(prepared),
        attempts=attempts,
        samples=len(prepared.samples),
        sound_repeated=prepared.sound_repeated,
    )
    return prepared, entry


def _videos(
    task: ShardTask, scratch: Path, earlier: "_Earlier | None", decode: Decoder
) -> Iterator[tuple[Iterator[EncodedSample] | list[EncodedSample], InputEntry]]:
    """(samples, entry) of each of the shard's rows in order."""
    rows = [row for row in task.rows if earlier is None or earlier.failed(row.video)]
    with closing(fetched(rows, task.fetch, scratch, task.pace)) as sources:
        for row in task.rows:
            attempts = 1
            if earlier is not None:
                if not earlier.failed(row.video):
                    yield earlier.samples(row.video), earlier.entry(row.video)
                    continue
                attempts += earlier.entry(row.video).attempts
            source = next(sources)
            row = replace(row, source=mask_url(row.source))  # as it is recorded from here on
            if source.problem is not None or source.place is None:
                problem = source.problem or MediaError(Reason.UNREACHABLE, "nothing came")
                yield [], _failed(row, problem.reason, str(problem), attempts)
                continue
            prepared, entry = decode_row(row, source.place, task.settings, decode, attempts)
            yield prepared.samples, entry


class _Earlier:
    """The shard as it is, before some of its videos are done again."""

    def __init__(self, task: ShardTask, scratch: Path) -> None:
        self._reasons = task.retry
        self._tar = scratch / "earlier.tar"
        storage.download(storage.join(task.out, f"{shard_name(task.number)}.tar"), self._tar)
        (index,) = read_indexes(task.out, [task.number])
        self._entries: dict[str, InputEntry] = {}
        self._samples: dict[str, list[SampleEntry]] = {}
        first = 0
        for entry in index.inputs:
            self._entries[entry.video] = entry
            self._samples[entry.video] = index.samples[first : first + entry.samples]
            first += entry.samples

    def failed(self, video: str) -> bool:
        """Whether the video is to be done again."""
        return self._entries[video].reason in self._reasons

    def entry(self, video: str) -> InputEntry:
        """What became of the video."""
        return self._entries[video]

    def samples(self, video: str) -> Iterator[EncodedSample]:
        """The samples that the video gave."""
        with self._tar.open("rb") as file:
            for place in self._samples[video]:
                file.seek(place.offset)
                members = read_members(file.read(place.bytes))
                yield EncodedSample(
                    place.key, {name.removeprefix(f"{place.key}."): content for name, content in members}
                )


def decoding_process(limits: LimitSettings) -> Isolated[[VideoRow, PrepareSettings, str], PreparedVideo]:
    """A process that decodes, so that nothing else is lost with it."""
    return Isolated(prepare_video, limits.deadline_s, limits.memory_mb, limits.videos_per_process)


_kept = lru_cache(maxsize=1)(decoding_process)


def decode_here(deadline_s: float, row: VideoRow, settings: PrepareSettings, place: str) -> PreparedVideo:
    """Decode in this process, whatever it takes."""
    return prepare_video(row, settings, place)


def _failed(row: VideoRow, reason: str, message: str, attempts: int) -> InputEntry:
    return InputEntry(
        video=row.video,
        source=row.source,
        status="failed",
        reason=str(reason),
        message=mask_urls(message),
        attempts=attempts,
        samples=0,
    )


def _to_be_said(prepared: PreparedVideo) -> str | None:
    said = ["no audio track: silence stands for it"] if prepared.silent else []
    if prepared.left_out:
        counts = ", ".join(f"{count} {reason}" for reason, count in prepared.left_out.items())
        said.append(f"frames left out: {counts}")
    return "; ".join(said) or None
