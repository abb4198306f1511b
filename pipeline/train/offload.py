"""Optimiser states and parameters in host memory or in files, by ZeRO-Offload and ZeRO-Infinity."""

from pathlib import Path
from typing import Any

from cluster.storage.plain_errors import said_plainly
from pipeline.errors import SettingsError
from pipeline.train.settings import TrainSettings

_AIO = {"block_size": 1048576, "queue_depth": 8, "single_submit": False, "overlap_events": True}


def check_offload(settings: TrainSettings) -> None:
    """Refuse what DeepSpeed can't do, before anything is built.

    Raises:
        SettingsError: the stage has nothing to move, there is no folder, or this machine can't write files beside
            computing (libaio).
    """
    if settings.offload == "none":
        return
    if settings.zero_stage == 0:
        raise SettingsError(f"train.offload: {settings.offload} needs train.zero_stage 1, 2 or 3, found 0")
    if settings.offload == "cpu":
        return
    if settings.zero_stage != 3:
        raise SettingsError(f"train.offload: nvme needs train.zero_stage = 3, found {settings.zero_stage}")
    if settings.offload_folder is None:
        raise SettingsError(
            "train.offload_folder: expected a folder on a fast local disk for offload = nvme, found none"
        )
    if settings.ema_decay is not None:
        raise SettingsError("train.ema_decay: an average of weights that lie in files (offload = nvme) can't be kept")
    from deepspeed.ops.op_builder import AsyncIOBuilder

    if not AsyncIOBuilder().is_compatible(verbose=False):
        raise SettingsError(
            "train.offload: nvme needs DeepSpeed's async_io, which is built with libaio and a C++ compiler; "
            "install libaio-dev, or use offload = cpu"
        )
    with said_plainly("make", settings.offload_folder):
        Path(settings.offload_folder).mkdir(parents=True, exist_ok=True)


def offload_settings(settings: TrainSettings) -> dict[str, Any]:
    """DeepSpeed's settings of what is moved where."""
    if settings.offload == "none":
        return {}
    place: dict[str, Any] = {"device": settings.offload}
    if settings.offload == "nvme":
        place["nvme_path"] = settings.offload_folder
    found: dict[str, Any] = {"offload_optimizer": place}
    if settings.zero_stage == 3:
        # an eighth of the states in 16 bit; in files DeepSpeed would round float32 parameters
        found["offload_param"] = {"device": "cpu"}
    if settings.offload == "nvme":
        # a file for each large parameter: where several share one, DeepSpeed reads gradients into memory that is not
        # aligned as direct reading needs it, and gets the wrong ones
        found["sub_group_size"] = 1
    return found


def engine_sections(settings: TrainSettings) -> dict[str, Any]:
    """Sections of DeepSpeed's settings besides `zero_optimization`."""
    return {"aio": _AIO} if settings.offload == "nvme" else {}
