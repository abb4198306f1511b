"""Whether wandb can be reached: the same rule for everything that logs to it."""

import netrc
import os
from typing import Literal

Mode = Literal["online", "offline", "disabled"]
_MODES: tuple[Mode, ...] = ("online", "offline", "disabled")


def resolve_mode(mode: str) -> Mode:
    """`auto` is online where there is an account, else offline; WANDB_MODE wins, as everywhere in wandb."""
    for known in _MODES:
        if known == os.environ.get("WANDB_MODE", mode):
            return known
    if os.environ.get("WANDB_API_KEY"):
        return "online"
    try:
        hosts = netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        return "offline"
    base = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    return "online" if base.split("://")[-1].split("/")[0].split(":")[0] in hosts else "offline"
