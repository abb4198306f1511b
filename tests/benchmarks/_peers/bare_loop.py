"""The floor: tars are read whole, images and sounds decoded, in two processes; nothing is shuffled or put together."""

import multiprocessing
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from _peers.decoding import decode_frame
from _peers.job import Job
from pipeline.sound.flac import decode_flac

Place = tuple[str, int, int]


def open_loader(job: Job) -> Callable[[int], Iterator[int]]:
    """Processes that wait for shards; where the files lie in the tars is looked up before."""
    tars = sorted(Path(job.url).glob("*.tar"))
    shards = [(str(tar), _places(tar)) for tar in tars]
    pool = multiprocessing.get_context("spawn").Pool(job.workers)
    return lambda epoch: pool.imap_unordered(partial(_go_through, size=job.frame_size), shards)


def _places(tar: Path) -> list[Place]:
    with tarfile.open(tar) as members:
        return [(member.name.rpartition(".")[2], member.offset_data, member.size) for member in members]


def _go_through(shard: tuple[str, list[Place]], size: int) -> int:
    path, places = shard
    content = Path(path).read_bytes()
    samples = 0
    for kind, start, length in places:
        if kind == "jpg":
            decode_frame(content[start : start + length], size)
            samples += 1
        elif kind == "flac":
            decode_flac(content[start : start + length])
    return samples
