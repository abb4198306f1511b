"""GPUs and their driver, as `nvidia-smi` tells of them; torch, whose import takes seconds, is asked by ranks alone."""

import shutil
import subprocess
from pathlib import Path

from cluster.doctor.finding import Finding
from cluster.programs import run_program

_FIELDS = "name,driver_version,memory.total,memory.used,ecc.errors.uncorrected.volatile.total"
_ANSWER_S = 30.0
_OTHERS_MIB = 1024


def gpus(devices: Path = Path("/dev")) -> Finding:
    """Which GPUs the machine has, whether their driver answers, whether others use them, and whether they are whole."""
    there = [*devices.glob("nvidia[0-9]*")]
    program = shutil.which("nvidia-smi")
    if program is None:
        if there:
            advice = "bring the driver's programs into the container (NVIDIA_DRIVER_CAPABILITIES=compute,utility)"
            return Finding("gpu", "fail", f"{len(there)} NVIDIA devices, but no nvidia-smi", advice)
        advice = "ask for a GPU machine (sbatch --gpus-per-node, docker --gpus all) unless the CPU is what you want"
        return Finding("gpu", "warn", "none: training will run on the CPU", advice)
    try:
        done = run_program([program, f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"], _ANSWER_S)
    except subprocess.TimeoutExpired:
        advice = "drain the machine and restart it: a GPU has fallen off the bus, or the driver hangs"
        return Finding("gpu", "fail", f"nvidia-smi: no answer after {_ANSWER_S:.0f} s", advice)
    lines = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines() if line.count(",") == 4]
    if done.returncode or not lines:
        said = " ".join((done.stdout + done.stderr).split())[:200]
        advice = "load the driver (modprobe nvidia), or give the job its GPUs; `dmesg` names lost ones (Xid)"
        return Finding("gpu", "fail", f"nvidia-smi: {said or 'no GPU'}", advice)
    return _judge(lines)


def _judge(lines: list[list[str]]) -> Finding:
    """Of each GPU name, driver, memory and memory in use (MiB), and errors that memory could not correct."""
    name, driver, memory = lines[0][:3]
    shown = f"{len(lines)} × {name}, {memory} MiB, driver {driver}"
    damaged = [str(number) for number, line in enumerate(lines) if line[4].isdecimal() and int(line[4])]
    if damaged:
        advice = "drain the machine and reset these GPUs: what they compute can't be trusted"
        return Finding("gpu", "fail", f"{shown}; uncorrected memory errors on {', '.join(damaged)}", advice)
    used = [str(number) for number, line in enumerate(lines) if line[3].isdecimal() and int(line[3]) > _OTHERS_MIB]
    if used:
        advice = "see `nvidia-smi` for whose processes these are, and end them or take other GPUs"
        return Finding("gpu", "warn", f"{shown}; memory in use on {', '.join(used)}", advice)
    return Finding("gpu", "ok", shown)
