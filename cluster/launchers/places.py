"""The launcher of each place."""

from cluster.errors import JobError
from cluster.job_records import Place
from cluster.launchers.contract import Launcher


def launcher_of(place: Place, address: str | None = None) -> Launcher:
    """The launcher of a place, whose libraries are imported only now.

    Args:
        address: of the Ray cluster, where it is told.

    Raises:
        JobError: an address for a place that has none.
    """
    if place == "ray":
        from cluster.launchers.ray import RayLauncher

        return RayLauncher(address)
    if address is not None:
        raise JobError(f"--address: expected none for a job on {place}, found {address}")
    if place == "slurm":
        from cluster.launchers.slurm import SlurmLauncher

        return SlurmLauncher()
    from cluster.launchers.local import LocalLauncher

    return LocalLauncher()
