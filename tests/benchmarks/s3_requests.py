"""Ranged requests to an S3 server on this machine: this project's own client beside obstore, which is object_store in
Rust."""

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from _peers.install import peers_folder
from _realistic_samples import write_realistic
from _s3_bucket import new_bucket
from cluster import storage
from result import Result

SAMPLES, ROUNDS, THREADS = 600, 5, 16
PIECE, PIECES_AT_ONCE = 8 << 20, 4
"""Bytes that the cache of a node asks for at a time, and how many such requests are under way."""
Range = tuple[str, int, int]
"""URL, first byte, number of bytes."""


def run() -> list[Result]:
    """The samples of three shards, a request each, 16 at a time, and the same shards in pieces of 8 MiB, 4 at a time;
    in turns. CPU time is the client's, so that other work on the machine changes it little; rates are those of server
    and client together."""
    with tempfile.TemporaryDirectory(prefix="gavt-") as folder, new_bucket() as bucket:
        shards = write_realistic(Path(folder) / "shards", SAMPLES)
        for file in sorted(file for file in shards.rglob("*") if file.is_file()):
            storage.upload(file, f"{bucket}/{file.relative_to(shards)}")
        urls = [f"{bucket}/{shard['name']}" for shard in storage.read_json(f"{bucket}/dataset.json")["shards"]]
        samples = [
            (url, sample["offset"], sample["bytes"])
            for url in urls
            for sample in storage.read_json(f"{url.removesuffix('.tar')}.json")["samples"]
        ]
        sizes = [(url, storage.size(url)) for url in urls]
        pieces = [(url, at, min(PIECE, size - at)) for url, size in sizes for at in range(0, size, PIECE)]
        theirs = _obstore(bucket)
        return [
            *_compared("a sample", samples, THREADS, theirs),
            *_compared("8 MiB", pieces, PIECES_AT_ONCE, theirs),
        ]


def _obstore(bucket: str) -> Callable[[Range], Any]:
    sys.path.append(str(peers_folder()))
    import obstore
    from obstore.store import S3Store

    store = S3Store(
        bucket.removeprefix("s3://"),
        endpoint=os.environ["S3_ENDPOINT_URL"],
        region="us-east-1",
        access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
        secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        client_options={"allow_http": True},
        virtual_hosted_style_request=False,
    )
    return lambda place: obstore.get_range(store, place[0].removeprefix(f"{bucket}/"), start=place[1], length=place[2])


def _compared(name: str, places: Sequence[Range], at_once: int, theirs: Callable[[Range], Any]) -> list[Result]:
    def own() -> int:
        parts = storage.read_parts(((url, start, length, None) for url, start, length in places), at_once)
        return sum(len(part) for part in parts if isinstance(part, bytes))

    def other() -> int:
        with ThreadPoolExecutor(at_once) as threads:
            return sum(map(len, threads.map(theirs, places)))

    expected = sum(length for _, _, length in places)
    found = [(_measured(own, expected), _measured(other, expected)) for _ in range(ROUNDS)]
    (rate, cpu), (their_rate, their_cpu) = (
        tuple(median(column) for column in zip(*of_one, strict=True)) for of_one in zip(*found, strict=True)
    )
    rates = f"obstore {their_rate:.0f} MB/s; here {rate:.0f}"
    times = f"obstore {their_cpu:.2f} s of CPU a GB; here {cpu:.2f}"
    return [
        Result(f"s3_requests {name}, CPU", cpu / their_cpu, "", 1.0, cpu <= their_cpu, times),
        Result(f"s3_requests {name}, rate", rate / their_rate, "", 1.0, rate >= their_rate, rates),
    ]


def _measured(read: Callable[[], int], expected: int) -> tuple[float, float]:
    """MB a second, and seconds of this process's CPU time a GB."""
    begun, before = time.perf_counter(), _cpu_s()
    number = read()
    if number != expected:
        raise RuntimeError(f"expected {expected} bytes, found {number}")
    return number / 1e6 / (time.perf_counter() - begun), (_cpu_s() - before) / number * 1e9


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
