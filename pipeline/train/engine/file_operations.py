"""DeepSpeed's operations on files (async_io), compiled by one process at a time."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from cluster.file_lock import open_lock_file, wait_for_lock
from cluster.os_errors import why
from pipeline.errors import SettingsError

_OPERATIONS = ("pin_memory", "async_io")
_log = logging.getLogger(__name__)


def load_file_operations() -> None:
    """Have what offload to files needs ready before DeepSpeed's engine asks for it.

    It is compiled at the first start of a machine, which takes minutes, into a folder of gavt's own below torch's
    (TORCH_EXTENSIONS_DIR). Older torch marks a build by a file that outlives a process that is killed, and each later
    start would wait for it for ever; the lock here ends with its process, and who has it takes such a file away.

    Raises:
        SettingsError: there is no place for it, or the compiler fails.
    """
    try:
        with _own_folder() as folder:
            lock = open_lock_file(folder / "gavt.lock")
            try:
                wait_for_lock(lock)
                _load(folder)
            finally:
                os.close(lock)
    except OSError as error:
        place = error.filename or "TORCH_EXTENSIONS_DIR"
        raise SettingsError(
            f"train.offload: nvme needs a folder for what it compiles (TORCH_EXTENSIONS_DIR): {place}: {why(error)}"
        ) from None


def _load(folder: Path) -> None:
    from deepspeed.ops.op_builder import AsyncIOBuilder

    for name in _OPERATIONS:
        (folder / name / "lock").unlink(missing_ok=True)
    if not (folder / "async_io" / "async_io.so").exists():
        _log.warning("compiling DeepSpeed's operations on files, which takes some minutes, once: %s", folder)
    try:
        AsyncIOBuilder().load(verbose=False)
    except RuntimeError as error:
        lines = [line for line in str(error).splitlines() if "error" in line.lower()] or [str(error)]
        raise SettingsError(
            f"train.offload: nvme needs DeepSpeed's async_io, which can't be compiled: {lines[-1].strip()}"
        ) from error


@contextmanager
def _own_folder() -> Iterator[Path]:
    """Let torch build extensions in a folder of gavt's own, where nobody else's marks are."""
    from torch.utils.cpp_extension import get_default_build_root

    before = os.environ.get("TORCH_EXTENSIONS_DIR")
    folder = Path(before or get_default_build_root()) / f"gavt-torch-{torch.__version__}"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["TORCH_EXTENSIONS_DIR"] = str(folder)
    try:
        yield folder
    finally:
        if before is None:
            del os.environ["TORCH_EXTENSIONS_DIR"]
        else:
            os.environ["TORCH_EXTENSIONS_DIR"] = before
