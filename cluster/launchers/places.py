"""The launcher of each place."""

from cluster.job_records import Place
from cluster.launchers.contract import Launcher


def launcher_of(place: Place) -> Launcher:
    """The launcher of a place, whose libraries are imported only now."""
    if place == "slurm":
        from cluster.launchers.slurm import SlurmLauncher

        return SlurmLauncher()
    from cluster.launchers.local import LocalLauncher

    return LocalLauncher()
