"""What jobs need to know of the machines that they are sent to, written once by whoever knows them."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from cluster.masking import holds_secrets, mask_value


def _plain(value: str) -> str:
    if not re.fullmatch(r"[\w.,:@/+-]+", value):
        raise ValueError(f"letters, digits and . , : @ / + -, found {value!r}")
    return value


def _one_line(value: str) -> str:
    if "\n" in value or "\r" in value or "\0" in value:
        raise ValueError(f"one line, found {value!r}")
    return value


def _variables(values: dict[str, str]) -> dict[str, str]:
    for name, value in values.items():
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            raise ValueError(f"a name of a variable, found {name!r}")
        if mask_value(name, value) != value:
            raise ValueError(f"no secret, found {name}: it would stand in job folders; export it where you submit")
        if "\0" in value:
            raise ValueError(f"text as {name}, found a zero byte in it")
    return values


Plain = Annotated[str, AfterValidator(_plain)]
Line = Annotated[str, AfterValidator(_one_line)]
Variables = Annotated[dict[str, str], AfterValidator(_variables)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class SlurmSite(_Part):
    """A Slurm cluster."""

    account: Plain | None = None
    partitions: tuple[Plain, ...] = ()
    """Where jobs go without `--partition`; of several, to whichever is free first. None: the cluster's default."""
    sbatch: tuple[Line, ...] = ()
    """Further options of sbatch, a line each: `--constraint=h100`."""
    srun: tuple[Line, ...] = ()
    """Further options of srun, a word each: `--cpu-bind=cores`."""
    cpus_per_process: int | None = Field(default=None, ge=1)
    """CPUs of each rank, for it and its loader workers; None: what the cluster gives."""
    signal_before_s: int = Field(default=120, ge=1)
    """So long before the end of the time processes are asked to save (SIGUSR2)."""
    chain: bool | None = None
    """Whether a job that follows is queued at each start, for sites that cancel jobs instead of requeueing them. None:
    if the partition's PreemptMode says so."""


class RaySite(_Part):
    """A Ray cluster."""

    address: Line | None = None
    """Of its dashboard, http://HOST:8265."""
    autoscales: bool = False
    """Whether nodes come when they are asked for: more may be asked for than there are."""
    wait_s: float = Field(default=60, ge=0)
    """How long all nodes are waited for before an attempt begins with fewer, and how long that then runs at least."""
    send: bool = False
    """Whether this program is sent to nodes that don't have it, as Ray's working folder; what the work reads and writes
    must be theirs all the same. Their Python is `python`, or `python3`."""
    also: tuple[Line, ...] = ()
    """Files and folders of the working folder that are sent with it: lists, a package of one's own. No data."""
    install: Literal["pip", "uv"] | None = None
    """By what Ray installs on the nodes what the program needs, in the versions that are installed here; None: they
    have it."""
    install_options: tuple[Line, ...] = ()
    """Further options of the installer, a word each: `--extra-index-url=…`."""

    @field_validator("install_options")
    @classmethod
    def _open(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        if holds_secrets(options):
            raise ValueError("no secret, which everybody could read who may look at the cluster")
        return options

    @model_validator(mode="after")
    def _used(self) -> "RaySite":
        if self.also and not self.send:
            raise ValueError("also only with send")
        if self.install_options and not self.install:
            raise ValueError("install_options only with install")
        return self


class SiteSettings(_Part):
    """Where jobs run. A file in YAML, by `--site`, `GAVT_SITE`, or `~/.config/gavt/site.yaml`."""

    python: Line | None = None
    """The Python that has gavt on the machines of the jobs; by default the one that submits, on a disk that they
    share."""
    modules: tuple[Plain, ...] = ()
    """What `module load` is told before a job."""
    setup: tuple[str, ...] = ()
    """Lines of bash before a job, as they are."""
    environment: Variables = {}
    """Variables of the jobs; no secrets, which would stand in scripts."""
    container: tuple[Line, ...] = ()
    """Words before the command of each process: `[apptainer, exec, --nv, /images/gavt.sif]`. What keeps the job runs
    outside of it, by `python`."""
    container_python: Line = "python3"
    """The Python that has gavt in the container."""
    slurm: SlurmSite = SlurmSite()
    ray: RaySite = RaySite()
