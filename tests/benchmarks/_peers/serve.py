"""A loader's process: `python -m _peers.serve JOB`, then an epoch for each line on stdin, answered with a line of JSON.

A loader's module has `open_loader(job)`, which gives a function: number of the epoch → its batches, of which only the
sizes are asked.
"""

import gc
import importlib
import json
import os
import sys
import time

from _peers.job import Job
from cluster.isolation import peak_resident_mb


def main() -> None:
    """The process."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries print what they like
    job = Job(**json.loads(sys.argv[1]))
    begun = time.perf_counter()
    module = importlib.import_module(f"_peers.{job.loader}")
    import_s = time.perf_counter() - begun
    begun = time.perf_counter()
    epochs = module.open_loader(job)
    for number, _ in enumerate(sys.stdin):
        if number:
            begun = time.perf_counter()
        samples, first_batch, first_batch_s = 0, 0, 0.0
        for size in epochs(number):
            samples += size
            if not first_batch:
                first_batch, first_batch_s = size, time.perf_counter() - begun
        seconds = time.perf_counter() - begun
        gc.collect()
        answer = {"samples": samples, "seconds": seconds, "first_batch": first_batch, "first_batch_s": first_batch_s}
        answers.write(json.dumps(answer | {"import_s": import_s, "peak_mb": peak_resident_mb(os.getpid())}) + "\n")


if __name__ == "__main__":
    main()
