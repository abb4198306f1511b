"""What the head of a Ray cluster is asked over HTTP, by the address of its dashboard."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from cluster.errors import JobError

ADDRESS = "RAY_ADDRESS"
_ANSWER_S = 60.0
_TRIES, _BETWEEN_S = 3, 1.0
"""How often an answer that a job is unknown is asked for again."""


class RayClient(JobSubmissionClient):  # type: ignore[misc]
    """Ray's client, which by itself waits for ever for a head that hangs."""

    def _do_request(self, *words: Any, **named: Any) -> Any:
        return super()._do_request(*words, **{"timeout": _ANSWER_S} | named)

    def version(self) -> str:
        """The cluster's version of Ray."""
        return str(self._json("/api/version")["ray_version"])

    def pythons(self) -> set[str]:
        """The versions of Python that the nodes run with (`3.11`), as far as the folders say that Ray lies in."""
        programs = [(node.get("cmdline") or [""])[0] for node in self._json("/nodes?view=summary")["data"]["summary"]]
        return {found[1] for program in programs if (found := re.search(r"/python(3\.\d+)/", program))}

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
        return [row["resources_total"] for row in self._listed("nodes?detail=true&") if row["state"] == "ALIVE"]

    def waits_for_nodes(self, driver: str | None) -> bool:
        """Whether all that a driver has reserved is still to come.

        Args:
            driver: Ray's number of it; None where it has not begun.
        """
        if driver is None:
            return False
        states = {row["state"] for row in self.placement_groups(driver)} - {"REMOVED"}
        return states == {"PENDING"}

    def placement_groups(self, driver: str) -> list[dict[str, Any]]:
        """What a driver has reserved, as Ray describes it; also what it has given back."""
        words = "filter_keys=creator_job_id&filter_predicates=%3D&filter_values="
        return self._listed(f"placement_groups?{words}{driver}&")

    def _listed(self, what: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._json(f"/api/v0/{what}limit=10000")["data"]["result"]["result"]
        return rows

    def _json(self, path: str) -> Any:
        answer = self._do_request("GET", path)
        answer.raise_for_status()
        return answer.json()


@contextmanager
def ray_client(address: str) -> Iterator[RayClient]:
    """A client of the cluster at an address; what goes wrong in the block is one sentence.

    Raises:
        JobError: nobody answers there, or it is no Ray, or it wants another token.
    """
    before = {name: os.environ.pop(name) for name in (ADDRESS, "RAY_API_SERVER_ADDRESS") if name in os.environ}
    try:  # these would count more than the address that Ray's client is told
        client = RayClient(address)
    except (requests.RequestException, ConnectionError, RuntimeError, ValueError, KeyError) as error:
        raise JobError(f"{address}: expected the dashboard of a Ray cluster, found none: {_why(error)}") from None
    except AuthenticationError as error:
        raise JobError(
            f"{address}: expected a Ray cluster that takes this command's token (RAY_AUTH_MODE, RAY_AUTH_TOKEN_PATH), "
            f"found: {sentence_of(error)}"
        ) from None
    finally:
        os.environ.update(before)
    try:
        yield client
    except requests.RequestException as error:
        raise JobError(f"{address}: the Ray cluster there does not answer any more: {_why(error)}") from None


def sentence_of(said: object) -> str:
    """What is worth reading of an answer that holds a traceback."""
    lines = [line for line in str(said).replace("\\n", "\n").splitlines() if line.strip(" .\"'")]
    return lines[-1].strip() if lines else type(said).__name__


def _why(error: Exception) -> str:
    return " ".join(str(error).split())
