"""What a start asks object storage for, counted, over numbers of machines and ranks.

python tests/cold_start.py [MACHINESxRANKS …]       a table, by kind of request; RANKS of all machines together

A run that has one checkpoint goes on, from its settings to the samples of the first step, with nothing on any machine:
`cold_start_ranks.py`. A real S3 server answers, behind a proxy that notes what is asked for.
"""

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlsplit

import s3fs
import yaml

from cluster import storage
from faulty_proxy import FaultyProxy, Request
from jobs.local import s3
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from simulated_ranks import save
from tiny_shards import FEATURES, MODEL, write_shard_set

ROOT = Path(__file__).parents[1]
RANKS = ROOT / "tests/cold_start_ranks.py"
SAMPLES = 4096
OF_A_RANK = 2
"""Samples of a rank's step."""
KINDS = {
    "settings": "once a machine and file",
    "run": "by the main process; a listing anew for each 1,000 files",
    "manifest.json": "by the main process",
    "dataset.json": "by the main process",
    "index of a shard": "once a machine and shard",
    "version of a shard": "once a machine and shard",
    "bytes of a shard": "once a machine and 2 MiB of samples",
    "header of a rank's states": "once a rank",
    "states of a rank": "once a rank and 32 MiB",
}
"""Kinds of requests, and how often one is made."""
_OF_TAR = {"HEAD": "version of a shard", "GET": "bytes of a shard"}


def kind_of(request: Request) -> str:
    """Of which kind a request is."""
    name = Path(urlsplit(request.path).path).name
    if name.endswith(".yaml") and "/run/" not in request.path:
        return "settings"
    if name in ("manifest.json", "dataset.json"):
        return name
    if name.startswith("shard-"):
        return "index of a shard" if name.endswith(".json") else _OF_TAR[request.method]
    if name.endswith(".safetensors"):
        return "header of a rank's states" if request.headers["range"].startswith("bytes=0-") else "states of a rank"
    return "run"


class ColdStart:
    """A job's settings, shards and checkpoint.

    Args:
        place: where they go: a folder in a bucket (URL), of a name that no other has.
        shards: folder of a shard set, of `samples` samples; lanes of the order are as many as machines.
    """

    def __init__(self, place: str, shards: Path, samples: int, machines: int, ranks: int) -> None:
        self.place, self.machines, self.ranks = place, machines, ranks
        self.config, self.run = f"{place}/mine.yaml", f"{place}/run"
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda path: storage.upload(path, f"{place}/set/{path.name}"), shards.iterdir()))
        data = {"train": f"{place}/set", "workers": 0, "lanes": machines, "block_samples": samples // machines}
        common = {"features": FEATURES, "model": MODEL, "task": {"group": OF_A_RANK}, "data": data}
        storage.write_text(f"{place}/base.yaml", yaml.safe_dump(common))
        train = {"steps": 2, "batch_size": OF_A_RANK * ranks}
        storage.write_text(self.config, yaml.safe_dump({"base": "base.yaml", "name": "cold", "train": train}))
        settings = load_settings(self.config, ExperimentSettings).settings.model_dump(mode="json")
        cursor = {"position": OF_A_RANK * ranks}
        state = {"interval": {}, "cursor": cursor, "useful_s": 0.0, "bad_steps": {}}
        save(f"{self.run}/checkpoints", ranks, 1, {"settings": settings, "state": state, "engine": {}, "time": 0.0})


def requests_of(jobs: Sequence[ColdStart], folder: Path, endpoint: str) -> list[list[Request]]:
    """What the start of each job asks for. Machines have their temporary files below `folder`."""
    words: list[str] = []
    for number, job in enumerate(jobs):
        (own := folder / str(number)).mkdir()
        words += [str(own), job.config, job.run, str(job.machines), str(job.ranks)]
    with FaultyProxy(endpoint, share=0) as proxy:
        told = {"AWS_ENDPOINT_URL": proxy.url, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}
        told["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        subprocess.run([sys.executable, str(RANKS), *words], env=os.environ | told, check=True)
    names = [f"{job.place.rpartition('/')[2]}/" for job in jobs]
    return [[one for one in proxy.requests if name in unquote(one.path)] for name in names]


def counts(requests: Sequence[Request]) -> Counter[str]:
    """How many of each kind; without what renews the hold on the run, which goes by time."""
    return Counter(kind_of(one) for one in requests if not one.path.endswith("/.lock"))


def most_of_one(requests: Sequence[Request]) -> dict[str, int]:
    """Of each kind, how often the object was asked for that was asked for most often."""
    most: dict[str, int] = {}
    for (kind, _, _), number in Counter((kind_of(one), one.method, unquote(one.path)) for one in requests).items():
        most[kind] = max(most.get(kind, 0), number)
    return most


def main(words: Sequence[str]) -> None:
    """Print the table."""
    sizes = [tuple(map(int, word.split("x"))) for word in words or ("4x4", "4x64", "4x256", "16x1024")]
    with tempfile.TemporaryDirectory(prefix="gavt-cold-") as root:
        server = s3.start(Path(root) / "s3")
        try:
            os.environ.update(server.environment())
            keys = {"key": server.access_key, "secret": server.secret_key}
            s3fs.S3FileSystem(**keys, endpoint_url=server.endpoint).mkdir("cold")
            shards = write_shard_set(Path(root) / "shards", SAMPLES, 64)
            jobs = [
                ColdStart(f"s3://cold/of-{ranks}-on-{nodes}", shards, SAMPLES, nodes, ranks) for nodes, ranks in sizes
            ]
            found = [counts(requests) for requests in requests_of(jobs, Path(root), server.endpoint)]
        finally:
            s3.stop(Path(root) / "s3")
    print("| | " + " | ".join(f"{ranks:,} ranks on {machines}" for machines, ranks in sizes) + " | made |")
    print("|---" * (len(sizes) + 2) + "|")
    for kind, made in KINDS.items():
        print(f"| {kind} | " + " | ".join(f"{one[kind]:,}" for one in found) + f" | {made} |")


if __name__ == "__main__":
    main(sys.argv[1:])
