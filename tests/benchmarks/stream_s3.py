"""Samples a second from an S3 server on this machine: the loader beside bare ranged requests and the peers."""

import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

from _contest import PEERS, best_workers, fresh, rate
from _peers.child import EpochTime
from _peers.convert import convert
from _peers.job import Job
from _realistic_samples import write_realistic
from _s3_bucket import new_bucket
from cluster import storage
from result import Result

SAMPLES = 2000
ROUNDS = 3
LEAST_OF_REQUESTS = 0.85
LEAST_OF_LOCAL = 0.9
FIRST_BATCH_S = 2.0


def run() -> list[Result]:
    """First epochs with nothing cached, in new processes: time to the first batch, building the loader included, and
    samples a second from then on; and second ones from the cache beside the same samples on local disk. The bare
    requests decode nothing; the server takes its part of the two cores.

    Raises:
        NotHere: no server can be started on this machine.
    """
    return measure(SAMPLES, ROUNDS)


def measure(samples: int, rounds: int) -> list[Result]:
    """The same of any size."""
    with tempfile.TemporaryDirectory(prefix="gavt-") as folder, new_bucket() as bucket:
        root = Path(folder)
        shards = write_realistic(root / "shards", samples)
        formats = {
            "shards": shards,
            "mosaic": convert("mosaic", shards, root / "mosaic"),
            "litdata": convert("litdata", shards, root / "litdata"),
        }
        for name, place in formats.items():
            for file in sorted(file for file in place.rglob("*") if file.is_file()):
                storage.upload(file, f"{bucket}/{name}/{file.relative_to(place)}")
        urls = {"Mosaic": f"{bucket}/mosaic", "litData": f"{bucket}/litdata"}
        jobs = {
            "requests": Job("bare_requests", f"{bucket}/shards", ""),
            "gavt": Job("gavt_loader", f"{bucket}/shards", ""),
        }
        for name, loader in PEERS.items():
            job = Job(loader, urls.get(name, f"{bucket}/shards"), "")
            jobs[name] = best_workers(job, root, samples, warm=False)
        first, second = _rounds(jobs, root, rounds, samples)
        local = Job("gavt_loader", str(shards), str(root / "local"))
        on_disk = fresh(local, rounds + 1, samples)[1:]
    rates = {name: median(epoch.flow for epoch in epochs) for name, epochs in first.items()}
    best = max(PEERS, key=lambda name: rates[name])
    of_requests, of_best = rates["gavt"] / rates["requests"], rates["gavt"] / rates[best]
    cached = rate(second["gavt"])
    of_local = cached / rate(on_disk)
    first_batch_s = median(epoch.first_batch_s for epoch in first["gavt"])
    others = ", ".join(f"{name} {median(epoch.first_batch_s for epoch in first[name]):.1f} s" for name in PEERS)
    peers = ", ".join(
        f"{name} {rates[name]:.0f} (then {rate(second[name]):.0f}; {jobs[name].workers} workers)" for name in PEERS
    )
    ours = f"gavt {rates['gavt']:.0f} samples/s"
    bare = f"a bare loop of one ranged request a sample, 16 at a time: {rates['requests']:.0f} samples/s; {ours}"
    disk = f"local disk {rate(on_disk):.0f} samples/s; from the cache {cached:.0f}"
    return [
        Result("stream_s3 requests", of_requests, "", LEAST_OF_REQUESTS, of_requests >= LEAST_OF_REQUESTS, bare),
        Result("stream_s3 best peer", of_best, "", 1.0, of_best >= 1.0, f"{peers}; {ours}"),
        Result("stream_s3 first batch", first_batch_s, "s", FIRST_BATCH_S, first_batch_s <= FIRST_BATCH_S, others),
        Result("stream_s3 second epoch", of_local, "", LEAST_OF_LOCAL, of_local >= LEAST_OF_LOCAL, disk),
    ]


def _rounds(
    jobs: dict[str, Job], root: Path, rounds: int, samples: int
) -> tuple[dict[str, list[EpochTime]], dict[str, list[EpochTime]]]:
    """First and second epochs of each loader, in turns, each time in a new process with an empty cache."""
    first: dict[str, list[EpochTime]] = {name: [] for name in jobs}
    second: dict[str, list[EpochTime]] = {name: [] for name in jobs}
    for number in range(rounds):
        for name, job in jobs.items():
            epochs = fresh(replace(job, scratch=str(root / f"round-{number}-{name}")), 2, samples)
            first[name].append(epochs[0])
            second[name].append(epochs[1])
    return first, second
