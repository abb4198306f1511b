"""What a job talks to: wandb, Slurm, Ray."""

import base64
import json
import netrc
import os
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from cluster.doctor.finding import Finding
from cluster.errors import VariableError
from cluster.json_text import parse_json
from cluster.masking import mask_url
from cluster.os_errors import why
from cluster.programs import run_program
from cluster.wandb_mode import base_url, resolve_mode

_ANSWER_S = 10.0
_MOST_SAID = 1 << 20
"""Bytes of an answer that are read."""
_WHO = json.dumps({"query": "query Viewer { viewer { id username } }"}).encode()


def wandb() -> Finding:
    """Whether runs will be shown in wandb, and if so, whether it takes the account. wandb itself, whose import takes a
    second, is not asked."""
    try:
        mode = resolve_mode("auto")
    except VariableError as error:
        return Finding("wandb", "fail", str(error), "unset WANDB_MODE, or correct it")
    if mode != "online":
        advice = (
            ""
            if mode == "disabled"
            else "for the server, `wandb login`, or set WANDB_API_KEY; `gavt sync RUN` sends it later"
        )
        return Finding("wandb", "ok", f"{mode}: records stay in the run folder", advice)
    server = base_url()
    word = base64.b64encode(f"api:{_key(server)}".encode()).decode()
    headers = {"Authorization": f"Basic {word}", "Content-Type": "application/json", "User-Agent": "gavt"}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{server.rstrip('/')}/graphql", _WHO, headers), timeout=_ANSWER_S
        ) as answer:
            viewer = (parse_json(answer.read(_MOST_SAID)).get("data") or {}).get("viewer")
    except urllib.error.HTTPError as refused:
        viewer, code = None, refused.code
        if code not in (400, 401, 403):
            return _no_wandb(server, f"HTTP {code}")
    except (OSError, ValueError) as error:
        return _no_wandb(server, why(error) if isinstance(error, OSError) else "an answer that is no JSON")
    if viewer is None:
        advice = "`wandb login`, or set WANDB_API_KEY to a key of this server; WANDB_MODE=offline does without"
        return Finding("wandb", "fail", f"{mask_url(server)} does not accept the account", advice)
    return Finding("wandb", "ok", f"online, {mask_url(server)} knows {viewer.get('username') or 'the account'}")


def slurm() -> Finding:
    """Whether Slurm's controller answers, where Slurm is."""
    missing = [name for name in ("sbatch", "squeue", "srun", "scontrol") if shutil.which(name) is None]
    if len(missing) == 4:
        return Finding("slurm", "ok", "not on this machine")
    if missing:
        return Finding("slurm", "warn", f"no {', '.join(missing)}", "install the rest of slurm-client, or correct PATH")
    done = _call(["squeue", "--noheader", "--me", "--format=%i"])
    if isinstance(done, str) or done.returncode:
        said = done if isinstance(done, str) else _last_line(done.stderr)
        if "configuration source" in said:
            advice = "to submit from here, name the cluster's slurm.conf by SLURM_CONF"
            return Finding("slurm", "warn", "installed, but nobody said where the cluster is", advice)
        advice = "see SLURM_CONF and whether slurmctld and munge run: `scontrol ping`"
        return Finding("slurm", "fail", f"squeue: {said}", advice)
    version = _call(["squeue", "--version"])
    shown = "" if isinstance(version, str) else version.stdout.strip()
    return Finding("slurm", "ok", f"{shown}, {len(done.stdout.split())} jobs of this user")


def ray_cluster() -> Finding:
    """Whether the Ray cluster that RAY_ADDRESS names answers."""
    address = os.environ.get("RAY_ADDRESS", "")
    if not address:
        return Finding("ray", "ok", "no cluster named (RAY_ADDRESS)")
    advice = "see RAY_ADDRESS, and `ray status` on the head node"
    if address.startswith(("http://", "https://")):
        return _dashboard(address, advice)
    parts = urlsplit(f"ray://{address.removeprefix('ray://')}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or port is None:
        if address in ("auto", "local"):
            return Finding("ray", "ok", f"RAY_ADDRESS={address}")
        return Finding("ray", "fail", f"RAY_ADDRESS={address}", "expected host:port, http://host:8265 or auto")
    try:
        socket.create_connection((host, port), timeout=_ANSWER_S).close()
    except OSError as error:
        return Finding("ray", "fail", f"{address}: {why(error)}", advice)
    return Finding("ray", "ok", f"{address} listens")


def _dashboard(address: str, advice: str) -> Finding:
    url = f"{address.rstrip('/')}/api/version"
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    shown = mask_url(address)
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_ANSWER_S) as answer:
            version = parse_json(answer.read(_MOST_SAID)).get("ray_version", "?")
    except urllib.error.HTTPError as refused:
        if refused.code in (401, 403):
            advice = "set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH, to the cluster's token"
        return Finding("ray", "fail", f"{shown}: HTTP {refused.code}", advice)
    except (OSError, ValueError) as error:
        return Finding("ray", "fail", f"{shown}: {why(error) if isinstance(error, OSError) else 'no Ray'}", advice)
    return Finding("ray", "ok", f"{shown}, Ray {version}")


def _key(server: str) -> str:
    """wandb's key, from its variable or ~/.netrc."""
    if key := os.environ.get("WANDB_API_KEY"):
        return key
    found = netrc.netrc().authenticators(urlsplit(server).hostname or "")
    return (found[2] or "") if found is not None else ""


def _no_wandb(server: str, said: str) -> Finding:
    advice = "see WANDB_BASE_URL and whether this machine may connect to it; WANDB_MODE=offline does without"
    return Finding("wandb", "fail", f"{mask_url(server)}: {said}", advice)


def _last_line(text: str) -> str:
    return " ".join((text.strip().splitlines() or ["no answer"])[-1].split())[:200]


def _call(command: list[str]) -> "subprocess.CompletedProcess[str] | str":
    """What a command said, or why it said nothing."""
    try:
        return run_program(command, _ANSWER_S)
    except subprocess.TimeoutExpired:
        return f"no answer after {_ANSWER_S:.0f} s"
    except OSError as error:
        return why(error)
