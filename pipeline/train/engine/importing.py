"""Importing DeepSpeed without what training does without."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

from cluster.importing import imports_at_once


def import_deepspeed() -> Any:
    """DeepSpeed, imported."""
    with imports_at_once(), quiet_deepspeed():
        import deepspeed

        # which of its operations could be compiled here it would find out by compiling, and ask for one alone: its
        # shared-memory one, which would be compiled at the first start, for inference only; a start that is killed
        # meanwhile leaves a lock behind for which all later ones would wait
        vars(deepspeed.ops).setdefault("__compatible_ops__", {})["deepspeed_shm_comm"] = False
        _import_unused_kernels()
        _import_unused_optimizer()
    return deepspeed


def _import_unused_kernels() -> None:
    """Import DeepSpeed's kernels for mixtures of experts, which an engine imports to find that it has no experts, as
    where there is no Triton: its compiler takes long to import, and asks for GPUs."""
    if "triton" in sys.modules:
        return
    sys.modules["triton"] = None  # type: ignore[assignment]  # importing it fails, for which DeepSpeed is prepared
    try:
        import deepspeed.ops.triton_ops  # noqa: F401
    finally:
        del sys.modules["triton"]


def _import_unused_optimizer() -> None:
    """Import DeepSpeed's Muon, which it does when it looks whether it knows an optimiser, without what that costs: its
    functions are made ready for torch.compile, a quarter of the time that a start or restart takes."""
    from deepspeed.runtime import compiler

    compile_before = compiler.compile
    compiler.compile = lambda *words, **named: lambda function: function
    try:
        import deepspeed.runtime.zero.muon.original_muon  # noqa: F401
    finally:
        compiler.compile = compile_before


@contextlib.contextmanager
def quiet_deepspeed() -> Iterator[None]:
    """Keep DeepSpeed's start-up messages (hundreds of lines) out of the log; warnings pass."""
    loggers = [
        logging.getLogger(name)
        for name in ("DeepSpeed", "deepspeed", "deepspeed.accelerator", "torch.utils.cpp_extension")
    ]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
