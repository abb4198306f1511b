"""All checks of one machine."""

import os
from collections.abc import Sequence

from cluster.doctor import gpu, installed, machine, object_storage, services
from cluster.doctor.finding import Finding
from cluster.node_cache import FOLDER, default_folder
from cluster.scratch import temporary_place


def examine(distribution: str, urls: Sequence[str] = (), world_size: int = 1) -> list[Finding]:
    """What is found on this machine, in seconds; nothing is left behind.

    Args:
        distribution: the package whose requirements the installed versions are checked against.
        urls: places on object storage that the job uses.
        world_size: ranks of the job that will run.

    Raises:
        StorageError: no place for temporary files is named, and the system has none.
    """
    findings = [
        gpu.gpus(),
        installed.packages(distribution),
        machine.compiler(),
        machine.shared_memory(),
        machine.open_files(world_size),
        machine.locked_memory(),
        machine.disk("temporary files", temporary_place(), "TMPDIR"),
    ]
    if os.environ.get(FOLDER):
        findings.append(machine.disk("cache", default_folder(), FOLDER))
    findings += [services.wandb(), services.slurm(), services.ray_cluster()]
    for url in urls:
        findings += object_storage.object_storage(url)
    return findings
