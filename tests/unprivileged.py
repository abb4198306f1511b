"""Folders that may not be written to, also for tests that run as root."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_VERSION_3 = 0x20080522
_OVERRIDES = 1 << 1 | 1 << 2 | 1 << 3
"""CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER: what lets root write where nobody may."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A block in which nothing can be written to a folder, nor below it, by this thread."""
    entries = [folder, *folder.rglob("*")]
    modes = [(entry, entry.stat().st_mode) for entry in entries if not entry.is_symlink()]
    for entry, mode in modes:
        entry.chmod(mode & 0o555)
    try:
        with _without_overrides():
            yield
    finally:
        for entry, mode in modes:
            if entry.exists():
                entry.chmod(mode)


@contextmanager
def _without_overrides() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    libc, header, sets = ctypes.CDLL(None, use_errno=True), _Header(_VERSION_3, 0), (_Sets * 2)()
    if libc.capget(ctypes.byref(header), sets) != 0:
        pytest.skip(f"capabilities of root can't be read: {os.strerror(ctypes.get_errno())}")
    before = sets[0].effective
    sets[0].effective = before & ~_OVERRIDES
    if libc.capset(ctypes.byref(header), sets) != 0:
        pytest.skip(f"capabilities of root can't be dropped: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        sets[0].effective = before
        libc.capset(ctypes.byref(header), sets)
