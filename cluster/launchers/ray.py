"""A Ray cluster that is there already: jobs handed to it over HTTP, by the address of its dashboard.

What runs there is `cluster.launchers.ray_attempts`, on the cluster's head as Ray has it.
"""

import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from cluster.errors import JobError
from cluster.job_folder import JobFolder
from cluster.job_records import JobRecord
from cluster.launchers.contract import Phase, PlaceState
from cluster.launchers.script import bash_script

_ANSWER_S = 60.0
_TRIES, _BETWEEN_S = 3, 1.0
"""How often an answer that a job is unknown is asked for again."""
_GRACE_S = 150
"""In which a job that is stopped must have saved; Ray itself gives three seconds."""
_ADDRESS = "RAY_ADDRESS"
_NEAR = {"PENDING": Phase.QUEUED, "RUNNING": Phase.RUNNING}
_ENVIRONMENT = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(_GRACE_S)}}


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
        with _client(address := self._where(record)) as client:
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
        """The command that Ray is given."""
        return self._script(record, url, _id(record, 1))

    def submit(self, job: JobFolder) -> str:
        """Hand it over; an answer that was lost on its way does not count as none."""
        record = job.record
        address, id = self._where(record, job), _id(record, len(job.submissions()) + 1)
        words = {"entrypoint": f"bash -c {shlex.quote(self._script(record, job.url, id))}", "submission_id": id}
        with _client(address) as client:
            try:
                client.submit_job(**words, runtime_env=_ENVIRONMENT)
            except (requests.ConnectionError, requests.Timeout):
                if client.status(id) is None:
                    raise
            except RuntimeError as error:
                if client.status(id) is not None:
                    raise JobError(
                        f"{job.name}: Ray at {address} knows a job {id} already, and takes no id twice; "
                        f"see gavt status {job.url}"
                    ) from None
                raise JobError(f"{job.name}: Ray at {address} refuses it: {_sentence(error)}") from None
        return f"{id}@{address}"

    def state(self, job: JobFolder) -> PlaceState:
        """What Ray says of the newest submission."""
        notes = job.submissions()
        if not notes:
            return PlaceState(Phase.GONE, "never submitted")
        id, _, address = notes[-1].id.partition("@")
        try:
            with _client(address) as client:
                info = client.status(id)
        except JobError as error:
            return PlaceState(Phase.UNKNOWN, str(error))
        if info is None:
            return PlaceState(Phase.GONE, f"the cluster at {address} does not know it: it was started again since")
        phase = _NEAR.get(str(info.status.value), Phase.GONE)
        attempts = job.attempts() if phase == Phase.RUNNING and job.record.ranked else []
        if phase == Phase.RUNNING and job.record.ranked and (not attempts or attempts[-1].ended is not None):
            return PlaceState(Phase.QUEUED, "waiting for nodes")
        return PlaceState(phase, f"{info.status.value} at {address}")

    def cancel(self, job: JobFolder) -> None:
        """Have the processes save and leave; after two and a half minutes Ray kills them."""
        state = self.state(job)
        if state.phase == Phase.UNKNOWN:
            raise JobError(f"{job.name}: {state.detail}")
        if state.phase == Phase.GONE:
            return
        id, _, address = job.submissions()[-1].id.partition("@")
        with _client(address) as client:
            client.stop_job(id)
            while (info := client.status(id)) is not None and not info.status.is_terminal():
                time.sleep(_BETWEEN_S)

    def logs(self, job: JobFolder) -> str:
        """What Ray says of the job, and what the process that runs the attempts has said."""
        notes = job.submissions()
        if not notes:
            return ""
        id, _, address = notes[-1].id.partition("@")
        with _client(address) as client:
            info = client.status(id)
            return "" if info is None else f"{info.status.value}: {info.message}\n{client.get_job_logs(id)}"

    def _where(self, record: JobRecord, job: JobFolder | None = None) -> str:
        """The cluster that a job goes to."""
        notes = [] if job is None else job.submissions()
        before = notes[-1].id.partition("@")[2] if notes else None
        found = self._address or before or os.environ.get(_ADDRESS) or record.site.ray.address
        if not (found or "").startswith(("http://", "https://")):
            raise JobError(
                f"--address: expected the dashboard of a Ray cluster, http://HOST:8265, by this option, {_ADDRESS}, or "
                f"ray.address of the site, found {found!r}"
            )
        return str(found).rstrip("/")

    def _script(self, record: JobRecord, url: str, id: str) -> str:
        head = [f"# gavt's job {record.name} as Ray runs it on its head node; its command stands in job.json"]
        command = [record.python, "-m", "cluster.launchers.ray_attempts", url, id]
        return bash_script(record, head, command)


def bundle(record: JobRecord) -> dict[str, float]:
    """What Ray reserves for the processes that `resources` says a node has."""
    asked = record.resources
    gpus = {"GPU": float(asked.gpus_per_node)} if asked.gpus_per_node else {}
    return {"CPU": float(asked.processes_per_node), **gpus}


def _id(record: JobRecord, number: int) -> str:
    return f"{record.name}-{number}"


def _sentence(error: Exception) -> str:
    """What is worth reading of an answer that holds a traceback."""
    lines = [line for line in str(error).replace("\\n", "\n").splitlines() if line.strip(" .\"'")]
    return lines[-1].strip() if lines else type(error).__name__


class _Client(JobSubmissionClient):  # type: ignore[misc]
    """Ray's client, which by itself waits for ever for a head that hangs."""

    def _do_request(self, *words: Any, **named: Any) -> Any:
        return super()._do_request(*words, **{"timeout": _ANSWER_S} | named)

    def status(self, id: str) -> Any:
        """What Ray knows of a job; None only if it says several times that there is none."""
        for left in reversed(range(_TRIES)):
            answer = self._do_request("GET", f"/api/jobs/{id}")
            if answer.status_code != requests.codes.not_found:
                return self.get_job_info(id)
            if left:
                time.sleep(_BETWEEN_S)
        return None

    def nodes(self) -> list[dict[str, float]]:
        """The resources of each node that is there."""
        answer = self._do_request("GET", "/api/v0/nodes?detail=true&limit=10000")
        answer.raise_for_status()
        rows = answer.json()["data"]["result"]["result"]
        return [row["resources_total"] for row in rows if row["state"] == "ALIVE"]


@contextmanager
def _client(address: str) -> Iterator[_Client]:
    """A client of the cluster at an address; what goes wrong in the block is one sentence.

    Raises:
        JobError: nobody answers there, or it is no Ray, or it wants another token.
    """
    before = {name: os.environ.pop(name) for name in (_ADDRESS, "RAY_API_SERVER_ADDRESS") if name in os.environ}
    try:  # these would count more than the address that Ray's client is told
        client = _Client(address)
    except (requests.RequestException, ConnectionError, RuntimeError, ValueError, KeyError) as error:
        raise JobError(f"{address}: expected the dashboard of a Ray cluster, found none: {_why(error)}") from None
    except AuthenticationError as error:
        raise JobError(
            f"{address}: expected a Ray cluster that takes this command's token (RAY_AUTH_MODE, RAY_AUTH_TOKEN_PATH), "
            f"found: {_sentence(error)}"
        ) from None
    finally:
        os.environ.update(before)
    try:
        yield client
    except requests.RequestException as error:
        raise JobError(f"{address}: the Ray cluster there does not answer any more: {_why(error)}") from None


def _why(error: Exception) -> str:
    return " ".join(str(error).split())
