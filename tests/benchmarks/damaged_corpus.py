"""Three hundred damaged videos: every one ends in samples or in the ledger with a reason, and no worker hangs."""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from barcode_video import write_video
from cluster.ray_pool import RayPool
from pipeline.prepare.manifests.read import VideoList
from pipeline.prepare.prepare import on_ray, prepare
from pipeline.prepare.settings import LimitSettings, PrepareSettings
from pipeline.reasons import Reason
from pipeline.shards.ledger import read_ledger
from result import Result

FILES = 300
DEADLINE_S = 20.0
WORKERS = 2
SETTINGS = PrepareSettings(
    min_clip_s=0.5,
    frame_rate_hz=1,
    audio_samples=5512,
    rows_per_shard=25,
    silence_dbfs=None,
    limits=LimitSettings(deadline_s=DEADLINE_S, memory_mb=1500),
)


def run() -> list[Result]:
    """Cut, flipped and spliced copies of generated videos and, where `GAVT_CORPUS` is set, of the corpus."""
    with tempfile.TemporaryDirectory(prefix="gavt-") as folder:
        good = _good(Path(folder))
        bad = Path(folder) / "bad"
        bad.mkdir()
        generator = np.random.default_rng(0)
        for number, (name, content) in zip(range(FILES), _damaged(good, generator), strict=False):
            (bad / f"{number:03d}-{name}").write_bytes(content)
        begun = time.perf_counter()
        out = f"{folder}/out"
        with RayPool(workers=WORKERS) as pool:
            dataset = prepare(VideoList([str(bad)]), out, SETTINGS, on_ray(pool))
        taken = time.perf_counter() - begun
        known = {reason.value for reason in Reason}
        entries = list(read_ledger(out))
        unexplained = sum(not entry.samples and entry.reason not in known for entry in entries) + FILES - len(entries)
    deadlines_s = FILES * DEADLINE_S / WORKERS
    reasons = ", ".join(f"{reason} {count}" for reason, count in dataset.reasons.items())
    unexpected = f" ({dataset.examples['error']})" if "error" in dataset.examples else ""
    peer = f"{dataset.videos - dataset.failed} gave samples; {reasons}{unexpected}"
    time_peer = f"the sum of {FILES} deadlines of {DEADLINE_S:g} s over {WORKERS} workers"
    return [
        Result("damaged_corpus unexplained", unexplained, "files", 0, unexplained == 0, peer),
        Result("damaged_corpus time", taken, "s", deadlines_s, taken <= deadlines_s, time_peer),
    ]


def _good(folder: Path) -> list[Path]:
    made = [
        write_video(folder / "h264.mp4", 6),
        write_video(folder / "h264-front.mp4", 6, container_options={"movflags": "faststart"}),
        write_video(folder / "h265.mkv", 6, codec="libx265"),
        write_video(folder / "vp9.webm", 6, codec="libvpx-vp9", audio_codec="libopus"),
        write_video(folder / "mpeg4.avi", 6, codec="mpeg4", audio_codec="libmp3lame"),
        write_video(folder / "av1.mp4", 6, codec="libsvtav1"),
        write_video(folder / "h264.ts", 6),
    ]
    corpus = os.environ.get("GAVT_CORPUS")
    return made + (sorted(Path(corpus, "videos").iterdir()) if corpus else [])


def _damaged(good: list[Path], generator: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """(name, content) of damaged files without end."""
    contents = [(path.name, path.read_bytes()) for path in good]
    while True:
        for name, content in contents:
            size = len(content)
            kind = int(generator.integers(7))
            first, last = sorted(generator.integers(0, size, 2))
            if kind == 0:  # the download stopped
                yield f"cut-{name}", content[: max(1, last)]
            elif kind == 1:  # the beginning is gone
                yield f"beheaded-{name}", content[first:]
            elif kind == 2:  # single bits
                yield f"flipped-{name}", _flipped(content, generator, max(1, size // 5000), 0)
            elif kind == 3:  # single bits, all near the beginning, where the index or the header is
                yield f"header-{name}", _flipped(content[:4096], generator, 8, 16) + content[4096:]
            elif kind == 4:  # a hole of zeros, as after a lost block
                yield f"hole-{name}", content[:first] + bytes(int(last - first)) + content[last:]
            elif kind == 5:  # a piece is missing
                yield f"spliced-{name}", content[:first] + content[last:]
            else:  # another file's middle
                other = contents[int(generator.integers(len(contents)))][1]
                yield f"mixed-{name}", content[:first] + other[len(other) // 3 : len(other) // 2] + content[last:]


def _flipped(content: bytes, generator: np.random.Generator, count: int, spare: int) -> bytes:
    changed = bytearray(content)
    for place in generator.integers(min(spare, len(changed) - 1), len(changed), count):
        changed[place] ^= 1 << int(generator.integers(8))
    return bytes(changed)
