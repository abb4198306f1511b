"""Samples a second from local disk: the loader beside a bare loop, webdataset, Mosaic streaming and litData."""

import tempfile
from pathlib import Path

from _contest import PEERS, best_workers, compete, rate
from _peers.convert import convert
from _peers.job import Job
from _realistic_samples import write_realistic
from result import Result

SAMPLES = 3000
ROUNDS = 3
LEAST_OF_FLOOR = 0.9


def run() -> list[Result]:
    """Whole epochs of frames of 128 pixels and six seconds of sound, two workers; the peers with the number of workers
    that suits them best, 1 to 3. The bare loop reads, decodes and throws away, in two processes."""
    return measure(SAMPLES, ROUNDS)


def measure(samples: int, rounds: int) -> list[Result]:
    """The same of any size."""
    with tempfile.TemporaryDirectory(prefix="gavt-") as folder:
        root = Path(folder)
        shards = write_realistic(root / "shards", samples)
        urls = {
            "Mosaic": convert("mosaic", shards, root / "mosaic"),
            "litData": convert("litdata", shards, root / "lit"),
        }
        jobs = {
            "bare loop": Job("bare_loop", str(shards), str(root / "scratch-bare")),
            "gavt": Job("gavt_loader", str(shards), str(root / "scratch-gavt")),
        }
        for name, loader in PEERS.items():
            job = Job(loader, str(urls.get(name, shards)), str(root / f"scratch-{loader}"))
            jobs[name] = best_workers(job, root, samples, warm=True)
        found = compete(jobs, rounds, samples)
    rates = {name: rate(epochs) for name, epochs in found.items()}
    best = max(PEERS, key=lambda name: rates[name])
    ours, floor = rates["gavt"] / rates["bare loop"], rates["gavt"] / rates[best]
    peers = ", ".join(f"{name} {rates[name]:.0f} ({jobs[name].workers} workers)" for name in PEERS)
    bare = f"a bare loop in two processes: {rates['bare loop']:.0f} samples/s; gavt {rates['gavt']:.0f}"
    return [
        Result("stream_local floor", ours, "", LEAST_OF_FLOOR, ours >= LEAST_OF_FLOOR, bare),
        Result("stream_local best peer", floor, "", 1.0, floor >= 1.0, f"{peers}; gavt {rates['gavt']:.0f} samples/s"),
    ]
