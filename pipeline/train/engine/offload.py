"""Optimiser states and parameters in host memory or in files, by ZeRO-Offload and ZeRO-Infinity."""

from pathlib import Path
from typing import Any

from cluster.storage.plain_errors import said_plainly
from pipeline.errors import SettingsError
from pipeline.train.settings import TrainSettings

_AIO = {"block_size": 1048576, "queue_depth": 8, "single_submit": False, "overlap_events": True}


def check_offload(settings: TrainSettings) -> None:
    """Refuse what this machine can't do, and make the folder for files.

    Raises:
        SettingsError: it can't write files beside computing (libaio).
        StorageError: the folder can't be made.
    """
    if settings.offload != "nvme":
        return
    from deepspeed.ops.op_builder import AsyncIOBuilder

    if not AsyncIOBuilder().is_compatible(verbose=False):
        raise SettingsError(
            "train.offload: nvme needs DeepSpeed's async_io, which is built with libaio and a C++ compiler; "
            "install libaio-dev, or use offload = cpu"
        )
    assert settings.offload_folder is not None
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
