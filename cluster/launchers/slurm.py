"""Slurm: a batch script that keeps the job's attempts (`cluster.launchers.slurm_keeper`), and `srun` a rank."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence

from cluster import storage
from cluster.errors import JobError, MissingFileError
from cluster.job_environment import without_launcher
from cluster.job_folder import JobFolder
from cluster.job_records import JobRecord
from cluster.launchers.contract import Phase, PlaceState
from cluster.launchers.script import bash_script
from cluster.programs import run_program

_ASKS, _ASKS_EVERY_S = 3, 1.0
"""How often the queue must say that it knows nothing of a job, before that is believed."""
_OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE", "REVOKED"}
_MAY_COME_BACK = {"PREEMPTED", "NODE_FAIL"}
_WAITS = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
_COMES_BACK_WITHIN_S = 300.0
_ANSWER_S = 60.0
_OPTIONS_OF_SCRIPT = ("SIGNAL", "REQUEUE", "NO_REQUEUE", "OPEN_MODE", "JOB_NAME", "PARTITION", "TIMELIMIT", "OUTPUT")


class SlurmLauncher:
    """See `cluster.launchers.contract.Launcher`. An id is Slurm's number of the job, which a requeue keeps."""

    def check(self, record: JobRecord) -> None:
        """Ask the cluster whether it has such partitions, machines and GPUs."""
        shown = _ask(["sinfo", "--noheader", "--all", "--format=%R|%D|%G|%l"])
        there: dict[str, list[list[str]]] = {}
        for line in shown.splitlines():
            name, *rest = line.strip().split("|")
            there.setdefault(name, []).append(rest)
        asked, partitions = record.resources, _partitions(record)
        for name in partitions:
            if name not in there:
                raise JobError(f"--partition: expected {' or '.join(sorted(there))}, found {name!r}")
        groups = [group for name in partitions or there for group in there[name]]
        most = max((_gpus(gpus) for _, gpus, _ in groups), default=0)
        if asked.gpus_per_node > most:
            raise JobError(
                f"--gpus-per-node: expected at most {most}, which a machine has, found {asked.gpus_per_node}"
            )
        nodes = max(sum(int(count) for count, _, _ in there[name]) for name in partitions or there)
        if asked.nodes > nodes:
            raise JobError(f"--nodes: expected at most {nodes}, which the partition has, found {asked.nodes}")
        if "\n" in f"{record.folder}{record.directory}":
            raise JobError(f"{record.folder!r}: a line break in a path can't be told to sbatch")

    def script(self, record: JobRecord, url: str) -> str:
        """An sbatch script that stands for itself."""
        asked, site = record.resources, record.site.slurm
        tasks = asked.processes_per_node if record.ranked else 1
        options = [f"--job-name={record.name}", f"--nodes={asked.nodes}", f"--ntasks-per-node={tasks}"]
        options += [f"--gpus-per-node={asked.gpus_per_node}"] if asked.gpus_per_node else []
        cpus = [f"--cpus-per-task={site.cpus_per_process}"] if site.cpus_per_process else []
        options += cpus or ([] if record.ranked else ["--exclusive"])  # else one CPU a machine
        options += [f"--time={_minutes(asked.time_s)}"] if asked.time_s is not None else []
        options += [f"--partition={','.join(names)}"] if (names := _partitions(record)) else []
        options += [f"--account={site.account}"] if site.account else []
        options += [f"--signal=USR2@{site.signal_before_s}", "--requeue", "--open-mode=append"]
        options += [f"--output={_quoted(_output(record, url))}", *site.sbatch]
        head = [*(f"#SBATCH {option}" for option in options), ""]
        head += ["# srun starts the ranks; what is before it records attempts, keeps logs, and has Slurm start the job"]
        head += ["# again when it left to go on. Submit this file again by hand, and the work goes on too."]
        keeper = [record.python, "-m", "cluster.launchers.slurm_keeper", url]
        srun = ["srun", "--label", "--input=none", f"--ntasks-per-node={tasks}", *cpus, *site.srun]
        beside_ray = (
            [record.python, "-m", "cluster.launchers.ray_nodes"] if not record.ranked and asked.nodes > 1 else []
        )
        return bash_script(record, head, [*keeper, "--", *srun, *beside_ray, *record.command])

    def submit(self, job: JobFolder) -> str:
        """Hand the script to sbatch."""
        return sbatch(self.script(job.record, job.url))

    def state(self, job: JobFolder) -> PlaceState:
        """What the queue says of the newest of the job's numbers that lives, or of all that they are gone."""
        found = [_state_of(note.id) for note in reversed(job.submissions())]
        for phase in (Phase.RUNNING, Phase.QUEUED, Phase.UNKNOWN):
            for state in found:
                if state.phase == phase:
                    return state
        return found[0] if found else PlaceState(Phase.GONE, "never submitted")

    def cancel(self, job: JobFolder) -> None:
        """`scancel`: SIGTERM to all ranks, and after the site's KillWait SIGKILL."""
        ids = [note.id for note in job.submissions()]
        if ids:
            _ask(["scancel", "--quiet", *ids])

    def logs(self, job: JobFolder) -> str:
        """What the batch script has said."""
        try:
            return storage.read_text(_output(job.record, job.url).replace("%%", "%"))
        except MissingFileError:
            return ""


def sbatch(script: str, *options: str) -> str:
    """Submit a script; the job's number.

    Raises:
        JobError: Slurm refuses; its sentence.
    """
    return _ask(["sbatch", "--parsable", *options], script, _environment()).strip().partition(";")[0]


def _ask(words: Sequence[str], text: str = "", environment: Mapping[str, str] | None = None) -> str:
    """What one of Slurm's commands prints."""
    if shutil.which(words[0]) is None:
        raise JobError(f"{words[0]}: no such command on this machine; submit where Slurm's are")
    try:
        done = run_program(words, _ANSWER_S, text, environment)
    except subprocess.TimeoutExpired:
        raise JobError(f"{words[0]}: no answer from Slurm in {_ANSWER_S:.0f} s") from None
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise JobError(f"{words[0]}: {said.removeprefix(f'{words[0]}: ').removeprefix('error: ')}")
    return done.stdout


def _environment() -> dict[str, str]:
    """This environment without what is said of a job that this process may run in, and without defaults that would win
    over the script's."""
    left_out = tuple(f"SBATCH_{name}" for name in _OPTIONS_OF_SCRIPT)
    return {
        name: value
        for name, value in without_launcher(os.environ).items()
        if name == "SLURM_CONF" or not (name.startswith(("SLURM_", "SLURMD_", "SRUN_")) or name in left_out)
    }


def _state_of(id: str) -> PlaceState:
    for ask in range(_ASKS):
        try:
            fields = _fields_of(id)
        except JobError as error:
            if "Invalid job id" not in str(error):
                return PlaceState(Phase.UNKNOWN, str(error))
            if ask < _ASKS - 1:
                time.sleep(_ASKS_EVERY_S)
            continue
        state, reason = fields["JobState"], fields.get("Reason", "None")
        detail = f"job {id} {state}{'' if reason == 'None' else f' ({reason})'}"
        if state in _OVER:
            return PlaceState(Phase.GONE, detail)
        if state in _MAY_COME_BACK:
            return PlaceState(Phase.UNKNOWN if _is_recent(fields.get("EndTime", "")) else Phase.GONE, detail)
        return PlaceState(Phase.QUEUED if state in _WAITS else Phase.RUNNING, detail)
    return PlaceState(Phase.GONE, f"job {id} is not known any more")


def _fields_of(id: str) -> dict[str, str]:
    """All that Slurm says of a job.

    Raises:
        JobError: it does not know it, or does not answer.
    """
    shown = _ask(["scontrol", "show", "job", id, "--oneliner"])
    return dict(word.split("=", 1) for word in shown.split() if "=" in word)


def _is_recent(ended: str) -> bool:
    """Whether a job of which Slurm may make a pending one again ended a moment ago."""
    try:
        return time.time() - time.mktime(time.strptime(ended, "%Y-%m-%dT%H:%M:%S")) < _COMES_BACK_WITHIN_S
    except ValueError:
        return False


def is_out_of_time(id: str) -> bool:
    """Whether Slurm ends a job because its time has run out, after which it does not start it again."""
    return _fields_of(id).get("Reason") == "TimeLimit"


def is_taken_away(id: str) -> bool:
    """Whether Slurm takes the machines from a job that runs, or has taken them: others need them, or somebody has told
    it to."""
    fields = _fields_of(id)
    return fields.get("JobState") != "RUNNING" or fields.get("PreemptTime", "None") != "None"


def is_cancelled_when_preempted(record: JobRecord) -> bool:
    """Whether the site ends jobs instead of requeueing them when others need the machines."""
    if record.site.slurm.chain is not None:
        return record.site.slurm.chain
    shown = _ask(["scontrol", "show", "partition", "--oneliner"])
    modes = {}
    for line in shown.splitlines():
        fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
        modes[fields["PartitionName"]] = fields.get("PreemptMode", "")
        if fields.get("Default") == "YES":
            modes[""] = fields.get("PreemptMode", "")
    return any("CANCEL" in modes.get(name, "") for name in _partitions(record) or ("",))


def _partitions(record: JobRecord) -> tuple[str, ...]:
    if record.resources.partition is not None:
        return tuple(record.resources.partition.split(","))
    return record.site.slurm.partitions


def _gpus(text: str) -> int:
    """GPUs of a machine, of what `sinfo` shows: `gpu:a100:4(S:0-1),nvme:1`."""
    return sum(int(count) for count in re.findall(r"(?:^|,)gpu(?::[^:,()]+)*?:(\d+)", text))


def _minutes(time_s: int) -> str:
    return f"{time_s // 3600:02}:{time_s // 60 % 60:02}:{time_s % 60:02}"


def _output(record: JobRecord, url: str) -> str:
    """Where the batch script's own output goes, as sbatch is told: beside the attempts, or in the working folder where
    these lie on a storage that Slurm can't write to. `%` begins what Slurm fills in."""
    place = f"{record.directory}/gavt-{record.name}.log" if storage.is_remote(url) else f"{url}/place.log"
    return place.replace("%", "%%")


def _quoted(value: str) -> str:
    """A value in a line of options as sbatch reads it, which has quotes and backslashes of its own."""
    return '"' + re.sub(r'([\\"])', r"\\\1", value) + '"'
