"""Reading lists of videos: the whole of MUSIC-200k, and a million rows of gavt's own form.

MUSIC-200k's list is made from the 2 000 rows in the corpus (`GAVT_CORPUS`): new ids, the same labels, 172 811 rows.
"""

import csv
import json
import os
import random
import string
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

from pipeline.prepare.manifests.read import VideoList
from result import Result

MUSIC200K_ROWS = 172_811
MUSIC200K_S = 5.0
OWN_ROWS = 1_000_000
OWN_S = 15.0
STREAMED_BYTES = 150.0
"""A batch of rows is held, and 24 bytes a row that say what was there already, for a moment twice."""
HELD_RATIO = 1.3
"""Reading into a list takes the memory of the rows, and that of a batch and the 24 bytes a row."""

_LETTERS = string.ascii_letters + string.digits + "_-"


def run() -> list[Result]:
    """Seconds and memory of MUSIC-200k beside `csv.reader`; CPU seconds of a million lines beside `json.loads`."""
    corpus = os.environ.get("GAVT_CORPUS")
    if not corpus:
        raise RuntimeError("GAVT_CORPUS is not set: this benchmark makes its list from the corpus")
    with tempfile.TemporaryDirectory(prefix="gavt-") as folder:
        music200k = _write_music200k(Path(folder), Path(corpus) / "manifests/MUSIC200k")
        own = _write_own(Path(folder) / "own.jsonl")
        return [*_measure_music200k(music200k), _measure_own(own)]


def _measure_music200k(path: Path) -> list[Result]:
    def ours() -> Iterable[object]:
        return VideoList([str(path)])

    def peer() -> Iterable[object]:
        return csv.reader(path.open(newline=""))

    _count(ours, MUSIC200K_ROWS)  # libraries and the page cache
    seconds, peer_s = _seconds(ours, MUSIC200K_ROWS), _seconds(peer, MUSIC200K_ROWS + 1)
    streamed, _ = _memory(lambda: _count(ours, MUSIC200K_ROWS))
    peer_peak, _ = _memory(lambda: _count(peer, MUSIC200K_ROWS + 1))
    peak, held = _memory(lambda: list(ours()))
    a_row, peer_row, held_row = (size / MUSIC200K_ROWS for size in (streamed, peer_peak, held))
    ratio = peak / held
    alone = f"csv.reader alone: {peer_row:.2f} B/row; the rows themselves: {held_row:.0f} B/row"
    return [
        Result(
            "read_music200k", seconds, "s", MUSIC200K_S, seconds <= MUSIC200K_S, f"csv.reader alone: {peer_s:.3f} s"
        ),
        Result("read_music200k_memory", a_row, "B/row", STREAMED_BYTES, a_row <= STREAMED_BYTES, alone),
        Result("read_music200k_whole", ratio, "", HELD_RATIO, ratio <= HELD_RATIO, f"its rows: {held / 1e6:.1f} MB"),
    ]


def _measure_own(path: Path) -> Result:
    seconds = _seconds(lambda: VideoList([str(path)]), OWN_ROWS, time.process_time)
    peer_s = _seconds(lambda: map(json.loads, path.open()), OWN_ROWS, time.process_time)
    peer = f"json.loads of each line: {peer_s:.2f} s of CPU"
    return Result("read_million", seconds, "s of CPU", OWN_S, seconds <= OWN_S, peer)


def _write_music200k(folder: Path, source: Path) -> Path:
    (folder / "vocabulary.csv").write_bytes((source / "vocabulary.csv").read_bytes())
    with (source / "MUSIC200k-train.csv").open(newline="") as file:
        labels = [row["labels"] for row in csv.DictReader(file)]
    ids = _ids(MUSIC200K_ROWS)
    path = folder / "MUSIC200k-train.csv"
    rows = (f"{name},{labels[number % len(labels)]}\n" for number, name in enumerate(ids))
    path.write_text("vid,labels\n" + "".join(rows))
    return path


def _write_own(path: Path) -> Path:
    with path.open("w") as file:
        for number, name in enumerate(_ids(OWN_ROWS)):
            start = number % 600
            row = {
                "video": f"{name}_{start:06d}",
                "source": f"/data/videos/{name[:2]}/{name}.mp4",
                "labels": ["playing cello" if number % 3 else "barking"],
                "split": "train",
                "start_s": start,
                "end_s": start + 10,
            }
            file.write(json.dumps(row) + "\n")
    return path


def _ids(count: int) -> list[str]:
    draw = random.Random(0)
    return ["".join(draw.choices(_LETTERS, k=11)) for _ in range(count)]


def _seconds(
    rows: Callable[[], Iterable[object]], expected: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    begun = clock()
    _count(rows, expected)
    return clock() - begun


def _count(rows: Callable[[], Iterable[object]], expected: int) -> None:
    found = sum(1 for _ in rows())
    if found != expected:
        raise RuntimeError(f"expected {expected} rows, found {found}")


def _memory(work: Callable[[], object]) -> tuple[float, float]:
    """Peak while working, and what its result holds (bytes)."""
    tracemalloc.start()
    try:
        result = work()
        held, peak = tracemalloc.get_traced_memory()
        del result
        return float(peak), float(held)
    finally:
        tracemalloc.stop()
