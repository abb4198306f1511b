"""A machine's limits: files, shared memory, disks, and the compiler that DeepSpeed and Triton call as a job runs."""

import os
import resource
import shutil
import subprocess
import sysconfig
import tempfile
import time
from pathlib import Path

from cluster.doctor.finding import Finding
from cluster.os_errors import why
from cluster.programs import run_program
from cluster.scratch import scratch_folder

_FEW_FILES, _SOME_FILES = 256, 1024
_LITTLE_SHM_GB, _SOME_SHM_GB = 0.13, 1.0  # containers get 64 MB unless told otherwise
_LITTLE_ROOM_GB, _SOME_ROOM_GB = 1.0, 10.0
_SLOW_DISK_MB_S = 20.0
_TRIAL_BYTES = 32 << 20
_COMPILE_S = 60.0


def open_files(world_size: int = 1) -> Finding:
    """How many files a process may have open (`ulimit -n`); the main process of a job has a connection to each rank."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    shown = f"{_count(soft)} open files a process, {_count(hard)} at most"
    wanted = _SOME_FILES + (world_size if world_size > 1 else 0)
    if _at_least(soft, wanted):
        return Finding("open files", "ok", shown)
    raised = (
        f"`ulimit -n {wanted}` before the command"
        if _at_least(hard, wanted)
        else f"LimitNOFILE={wanted} for the daemon that starts the job, or /etc/security/limits.conf"
    )
    few = not _at_least(soft, max(_FEW_FILES, world_size))
    return Finding("open files", "fail" if few else "warn", shown, f"raise the limit to {wanted}: {raised}")


def locked_memory(infiniband: Path = Path("/dev/infiniband")) -> Finding:
    """How much memory may be locked (`ulimit -l`): InfiniBand's cards write to such memory alone."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if not infiniband.exists():
        return Finding("locked memory", "ok", "no InfiniBand here")
    if soft == resource.RLIM_INFINITY:
        return Finding("locked memory", "ok", "unlimited")
    return Finding(
        "locked memory",
        "warn",
        f"{soft / 2**20:.0f} MiB, beside InfiniBand",
        "let it be unlimited (`ulimit -l unlimited`, LimitMEMLOCK=infinity for slurmd), else NCCL falls back to TCP",
    )


def shared_memory(place: str = "/dev/shm") -> Finding:
    """Room in memory that processes share, which NCCL and Ray take."""
    try:
        usage = shutil.disk_usage(place)
    except OSError as error:
        return Finding("shared memory", "fail", f"{place}: {why(error)}", f"mount a tmpfs at {place}")
    shown = f"{place}: {usage.free / 1e9:.2f} GB free of {usage.total / 1e9:.2f} GB"
    advice = (
        "give the container more (docker --shm-size=8g, in Kubernetes an emptyDir of medium Memory), or remove files"
    )
    if usage.free < _LITTLE_SHM_GB * 1e9:
        return Finding("shared memory", "fail", shown, f"{advice} in {place}")
    if usage.free < _SOME_SHM_GB * 1e9:
        return Finding("shared memory", "warn", shown, f"{advice} in {place}")
    return Finding("shared memory", "ok", shown)


def disk(name: str, place: Path, variable: str) -> Finding:
    """Room and pace of the disk that a folder is on, which need not be there yet; what is written is removed.

    Args:
        name: of the check.
        variable: by which another folder is named.
    """
    there = place
    while not there.exists() and there != there.parent:
        there = there.parent
    elsewhere = f"name another folder by {variable}"
    try:
        room = shutil.disk_usage(there).free
        pace = _write_mb_s(there, min(_TRIAL_BYTES, room // 4))
    except OSError as error:
        return Finding(name, "fail", f"{place}: {why(error)}", f"make it writable, or {elsewhere}")
    shown = f"{place}: {room / 1e9:.2f} GB free, writes {pace:.0f} MB/s"
    if room < _LITTLE_ROOM_GB * 1e9:
        return Finding(name, "fail", shown, f"make room there, or {elsewhere}")
    if room < _SOME_ROOM_GB * 1e9:
        return Finding(name, "warn", shown, f"make room there (some tens of GB), or {elsewhere}")
    if pace < _SLOW_DISK_MB_S:
        return Finding(name, "warn", shown, f"{elsewhere}, on a local disk: this one is slow, or busy now")
    return Finding(name, "ok", shown)


def _write_mb_s(folder: Path, size: int) -> float:
    """Write so many bytes to the disk itself, and remove them."""
    content = os.urandom(1 << 16)
    begun = time.monotonic()
    with tempfile.TemporaryFile(prefix="gavt-doctor-", dir=folder) as trial:
        for _ in range(max(1, size >> 16)):
            trial.write(content)
        trial.flush()
        os.fsync(trial.fileno())
    return max(1, size >> 16) * len(content) / 1e6 / max(1e-6, time.monotonic() - begun)


def compiler() -> Finding:
    """Whether C++ can be compiled against Python: Triton does it on a GPU, DeepSpeed where parameters are offloaded."""
    named = os.environ.get("CXX") or "c++"
    program = shutil.which(named.split()[0]) or shutil.which("g++")
    advice = "install a compiler and Python's headers (apt-get install g++ python3-dev), or name a compiler by CXX"
    if program is None:
        return Finding("compiler", "fail", f"no {named}, no g++", advice)
    with scratch_folder("gavt-doctor-") as folder:
        source = folder / "trial.cpp"
        source.write_text("#include <Python.h>\nint gavt_trial() { return Py_IsInitialized(); }\n", encoding="utf-8")
        flags = ["-shared", "-fPIC", "-O0", f"-I{sysconfig.get_path('include')}"]
        try:
            done = run_program([program, *flags, "-o", str(folder / "trial.so"), str(source)], _COMPILE_S)
        except subprocess.TimeoutExpired:
            return Finding("compiler", "fail", f"{program}: no end after {_COMPILE_S:.0f} s", advice)
        except OSError as error:
            return Finding("compiler", "fail", f"{program}: {why(error)}", advice)
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "error" in line.lower()), done.stderr.strip())
        return Finding("compiler", "fail", f"{program}: {' '.join(said.split())[-200:]}", advice)
    return Finding("compiler", "ok", program)


def _at_least(limit: int, wanted: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= wanted


def _count(limit: int) -> str:
    return "any number of" if limit == resource.RLIM_INFINITY else f"{limit:,}"
