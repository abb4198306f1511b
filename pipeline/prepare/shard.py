"""Making one shard: a tar of its videos' samples in local scratch, uploaded whole, then the JSON that says done."""

import hashlib
import io
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from cluster import storage
from cluster.errors import UserError
from cluster.isolation import Isolated, ProcessLost
from pipeline.errors import MediaError
from pipeline.prepare.layouts.sample import EncodedSample, PreparedVideo
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.reasons import Reason
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.video_samples import prepare_video

_ATTEMPTS = 2  # a process can die of what an earlier video did to it, so the last word is a fresh one's
Decoder = Callable[[VideoRow, PrepareSettings], PreparedVideo]


class SampleEntry(BaseModel):
    """Where a sample lies in the tar: bytes `offset` to `offset + bytes` hold all its files with their headers."""

    key: str
    offset: int
    bytes: int


class InputEntry(BaseModel):
    """What became of a video: a line of the ledger."""

    video: str
    source: str
    status: Literal["ok", "failed"]
    reason: str | None = None
    message: str | None = None
    attempts: int
    samples: int


class ShardIndex(BaseModel):
    """`shard-000123.json`. Written after the tar; it alone means that the shard is done."""

    sha256: str
    bytes: int
    samples: list[SampleEntry]
    inputs: list[InputEntry]


@dataclass(frozen=True)
class ShardTask:
    """A shard to make: everything that a worker anywhere needs to know."""

    number: int
    rows: list[VideoRow]
    out: str
    settings: PrepareSettings
    isolated: bool = True
    scratch: str | None = None
    """Local folder to build the tar in; None takes the system's for temporary files."""


def shard_name(number: int) -> str:
    """Name of a shard without its extension."""
    return f"shard-{number:06d}"


def build_shard(task: ShardTask) -> Iterator[InputEntry]:
    """Make a shard; gives each video's entry when the video is done, and ends when the shard is.

    Raises:
        StorageError: the shard can't be written.
    """
    decode = _isolated(task.settings) if task.isolated else prepare_video
    name = shard_name(task.number)
    with tempfile.TemporaryDirectory(prefix="gavt-shard-", dir=task.scratch) as scratch:
        path = Path(scratch) / f"{name}.tar"
        samples: list[SampleEntry] = []
        inputs: list[InputEntry] = []
        with path.open("wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for row in task.rows:
                prepared, entry = decode_row(row, task.settings, decode)
                samples += [_add(tar, sample) for sample in prepared.samples]
                inputs.append(entry)
                yield entry
        index = ShardIndex(sha256=_sha256(path), bytes=path.stat().st_size, samples=samples, inputs=inputs)
        storage.upload(path, storage.join(task.out, f"{name}.tar"))
        storage.write_text(storage.join(task.out, f"{name}.json"), index.model_dump_json())


def decode_row(row: VideoRow, settings: PrepareSettings, decode: Decoder) -> tuple[PreparedVideo, InputEntry]:
    """A video's samples and its line of the ledger; whatever is wrong with the video becomes a reason there."""
    attempt = 0
    while True:
        attempt += 1
        reason: str
        try:
            prepared = decode(row, settings)
        except MediaError as error:
            reason, message = error.reason, str(error)
        except ProcessLost as error:
            if error.fate == "crash" and attempt < _ATTEMPTS:
                continue
            reason, message = Reason(error.fate), str(error)
        except UserError:
            raise  # not this video's fault
        except Exception as error:  # a library's complaint about this file must not end the work on thousands of others
            reason, message = Reason.DAMAGED, f"decoding raised {type(error).__name__}: {error}"
        else:
            entry = InputEntry(
                video=row.video,
                source=row.source,
                status="ok",
                message=_left_out(prepared),
                attempts=attempt,
                samples=len(prepared.samples),
            )
            return prepared, entry
        entry = InputEntry(
            video=row.video,
            source=row.source,
            status="failed",
            reason=str(reason),
            message=message,
            attempts=attempt,
            samples=0,
        )
        return PreparedVideo(), entry


@lru_cache(maxsize=1)
def _isolated(settings: PrepareSettings) -> Isolated[[VideoRow, PrepareSettings], PreparedVideo]:
    """One decoding process a worker, kept from shard to shard."""
    return Isolated(prepare_video, settings.limits.deadline_s, settings.limits.memory_mb)


def _left_out(prepared: PreparedVideo) -> str | None:
    if not prepared.left_out:
        return None
    return "frames left out: " + ", ".join(f"{count} {reason}" for reason, count in prepared.left_out.items())


def _add(tar: tarfile.TarFile, sample: EncodedSample) -> SampleEntry:
    offset = tar.offset
    for extension, content in sample.files.items():
        member = tarfile.TarInfo(f"{sample.key}.{extension}")  # time 0, user 0, group 0: same samples, same bytes
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return SampleEntry(key=sample.key, offset=offset, bytes=tar.offset - offset)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
