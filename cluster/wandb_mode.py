"""Whether wandb can be reached, and through which of its services: the same rules for everything that logs to it."""

import netrc
import os
from typing import Literal
from urllib.parse import urlsplit

from cluster.errors import VariableError

Mode = Literal["online", "offline", "disabled"]
_MODES: dict[str, Mode] = {
    "online": "online",
    "run": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}
"""By all the names that wandb has for them in WANDB_MODE."""
_TRUE = ("1", "true", "yes", "on")


def resolve_mode(mode: str) -> Mode:
    """`auto` is online where there is an account, else offline; WANDB_MODE wins, as everywhere in wandb, and without it
    a true WANDB_DISABLED.

    Raises:
        VariableError: WANDB_MODE is none of wandb's.
    """
    if not os.environ.get("WANDB_MODE", mode):
        del os.environ["WANDB_MODE"]  # empty, which wandb itself would not take for unset
    if os.environ.get("WANDB_DISABLED", "").lower() in _TRUE and "WANDB_MODE" not in os.environ:
        return "disabled"
    named = os.environ.get("WANDB_MODE", mode)
    if named in _MODES:
        return _MODES[named]
    if named != "auto":
        raise VariableError(f"WANDB_MODE: expected {', '.join(_MODES)} or none, found {named!r}")
    if os.environ.get("WANDB_API_KEY"):
        return "online"
    try:
        hosts = netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        return "offline"
    return "online" if urlsplit(base_url()).hostname in hosts else "offline"


def leave_inherited_service() -> None:
    """Have wandb start a service of this process's own, and of each process that this one starts.

    A service holds runs open for the processes that share it, by a variable that children and submitted jobs inherit:
    the run of a process that was killed would stay in use, and on another machine there is no such service.
    """
    os.environ.pop("WANDB_SERVICE", None)  # a service that this process has started is known without it


def base_url() -> str:
    """Address of wandb's server."""
    return os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"
