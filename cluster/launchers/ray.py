"""A Ray cluster that is there already: jobs handed to it over HTTP, by the address of its dashboard.

What runs there is `cluster.launchers.ray_attempts`, on the cluster's head as Ray has it.
"""

import os
import platform
import shlex
import sys
import time

import ray
import requests

from cluster.errors import JobError
from cluster.job_folder import JobFolder
from cluster.job_records import JobRecord
from cluster.launchers.contract import Phase, PlaceState
from cluster.launchers.ray_client import ADDRESS, RayClient, ray_client, sentence_of
from cluster.launchers.ray_sent import as_sent, pinned_packages, runtime_environment, sent_files, write_archive
from cluster.launchers.script import bash_script
from cluster.scratch import scratch_folder

_POLL_S = 1.0
_NEAR = {"PENDING": Phase.QUEUED, "RUNNING": Phase.RUNNING}


class RayLauncher:
    """See `cluster.launchers.contract.Launcher`. An id is `NAME-1@http://HOST:PORT`: the job's name, how often it was
    submitted, and the cluster. It is made of what the folder says, so that Ray, which takes no id twice, refuses a
    job that two people submit again at once.

    Args:
        address: of the cluster's dashboard; by default where the job was submitted to, `RAY_ADDRESS`, or the site's.
    """

    def __init__(self, address: str | None = None) -> None:
        self._address = address

    def check(self, record: JobRecord) -> None:
        """Refuse what the cluster has not."""
        asked = record.resources
        for option, value in (("--partition", asked.partition), ("--time", asked.time_s)):
            if value is not None:
                raise JobError(f"{option}: expected none, since a Ray cluster has no queue, found {value}")
        if not record.ranked and asked.nodes != 1:
            raise JobError(
                f"--nodes: expected none, since {record.verb} works on all nodes of the cluster, found {asked.nodes}"
            )
        if record.site.ray.send:
            sent_files(record)
        if record.site.ray.install is not None:
            pinned_packages()
        with ray_client(address := self._where(record)) as client:
            _check_versions(record, client, address)
            nodes = client.nodes()
        if not record.ranked or record.site.ray.autoscales:
            return
        wanted = bundle(record)
        there = sum(min(int(node.get(name, 0) // count) for name, count in wanted.items()) for node in nodes)
        if there < asked.nodes:
            what = " and ".join(f"{count:g} {name}s" for name, count in wanted.items())
            raise JobError(
                f"--nodes: expected at most the {there} times {what} that the cluster at {address} has, "
                f"found {asked.nodes}; where nodes come when they are asked for, set ray.autoscales of the site"
            )

    def script(self, record: JobRecord, url: str) -> str:
        """The command that Ray is given, and what it is to have there for it."""
        return self._script(record, url, _id(record, 1))

    def submit(self, job: JobFolder) -> str:
        """Hand it over; an answer that was lost on its way does not count as none."""
        record = job.record
        address, id = self._where(record, job), _id(record, len(job.submissions()) + 1)
        words = {"entrypoint": f"bash -c {shlex.quote(self._script(record, job.url, id))}", "submission_id": id}
        with scratch_folder("gavt-sent-") as folder, ray_client(address) as client:
            archive = folder / "gavt.zip" if record.site.ray.send else None
            if archive is not None:
                write_archive(record, archive)
            try:
                client.submit_job(**words, runtime_env=runtime_environment(record, archive))
            except (requests.ConnectionError, requests.Timeout):
                if client.status(id) is None:
                    raise
            except RuntimeError as error:
                if client.status(id) is not None:
                    raise JobError(
                        f"{job.name}: Ray at {address} knows a job {id} already, and takes no id twice; "
                        f"see gavt status {job.url}"
                    ) from None
                raise JobError(f"{job.name}: Ray at {address} refuses it: {sentence_of(error)}") from None
        return f"{id}@{address}"

    def state(self, job: JobFolder) -> PlaceState:
        """What Ray says of the newest submission."""
        notes = job.submissions()
        if not notes:
            return PlaceState(Phase.GONE, "never submitted")
        id, _, address = notes[-1].id.partition("@")
        try:
            with ray_client(address) as client:
                info = client.status(id)
                waits = info is not None and info.status.value == "RUNNING" and client.waits_for_nodes(info.job_id)
        except JobError as error:
            return PlaceState(Phase.UNKNOWN, str(error))
        if info is None:
            return PlaceState(Phase.GONE, f"the cluster at {address} does not know it: it was started again since")
        if waits:
            return PlaceState(Phase.QUEUED, "waiting for nodes")
        said = f": {sentence_of(info.message)}" if info.status.value == "FAILED" else ""
        return PlaceState(_NEAR.get(str(info.status.value), Phase.GONE), f"{info.status.value} at {address}{said}")

    def cancel(self, job: JobFolder) -> None:
        """Have the processes save and leave; after two and a half minutes Ray kills them."""
        state = self.state(job)
        if state.phase == Phase.UNKNOWN:
            raise JobError(f"{job.name}: {state.detail}")
        if state.phase == Phase.GONE:
            return
        id, _, address = job.submissions()[-1].id.partition("@")
        with ray_client(address) as client:
            client.stop_job(id)
            while (info := client.status(id)) is not None and not info.status.is_terminal():
                time.sleep(_POLL_S)

    def logs(self, job: JobFolder) -> str:
        """What Ray says of the job, and what the process that runs the attempts has said."""
        notes = job.submissions()
        if not notes:
            return ""
        id, _, address = notes[-1].id.partition("@")
        with ray_client(address) as client:
            info = client.status(id)
            return "" if info is None else f"{info.status.value}: {info.message}\n{client.get_job_logs(id)}"

    def _where(self, record: JobRecord, job: JobFolder | None = None) -> str:
        """The cluster that a job goes to."""
        notes = [] if job is None else job.submissions()
        before = notes[-1].id.partition("@")[2] if notes else None
        found = self._address or before or os.environ.get(ADDRESS) or record.site.ray.address
        if not (found or "").startswith(("http://", "https://")):
            raise JobError(
                f"--address: expected the dashboard of a Ray cluster, http://HOST:8265, by this option, {ADDRESS}, or "
                f"ray.address of the site, found {found!r}"
            )
        return str(found).rstrip("/")

    def _script(self, record: JobRecord, url: str, id: str) -> str:
        head = [f"# gavt's job {record.name} as Ray runs it on its head node; its command stands in job.json"]
        head += ["# in this program's files, which are sent with it"] if record.site.ray.send else []
        head += [f"# beside the packages that {record.site.ray.install} installs"] if record.site.ray.install else []
        command = [record.python, "-m", "cluster.launchers.ray_attempts", url, id]
        return bash_script(as_sent(record), head, command)


def bundle(record: JobRecord) -> dict[str, float]:
    """What Ray reserves for the processes that `resources` says a node has."""
    asked = record.resources
    gpus = {"GPU": float(asked.gpus_per_node)} if asked.gpus_per_node else {}
    return {"CPU": float(asked.processes_per_node), **gpus}


def _id(record: JobRecord, number: int) -> str:
    return f"{record.name}-{number}"


def _check_versions(record: JobRecord, client: RayClient, address: str) -> None:
    """Refuse a cluster that the job's Ray or Python can't join, as far as they are those of this process; where others
    run the job, they say so themselves."""
    site = record.site
    if record.python == sys.executable and (there := client.version()) != ray.__version__:
        raise JobError(
            f"{address}: expected a cluster of Ray {ray.__version__}, as {record.python} has it, found {there}; name a "
            "Python with that version as `python` of the site"
        )
    here = ".".join(platform.python_version_tuple()[:2])
    if (record.python == sys.executable or site.ray.install) and (others := client.pythons() - {here}):
        found = " and ".join(sorted(others))
        raise JobError(
            f"{address}: expected a cluster of Python {here}, as this one is, found {found}; submit with that version, "
            "or name a Python of the nodes as `python` of the site"
        )
