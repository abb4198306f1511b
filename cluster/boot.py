"""Which start of the machine this is."""

from functools import lru_cache
from pathlib import Path

UNKNOWN = "unknown"


@lru_cache(maxsize=1)
def boot_id() -> str:
    """What tells one start of the machine from another, and a machine from others; `UNKNOWN` where nobody says."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return UNKNOWN
