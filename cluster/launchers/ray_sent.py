"""What a Ray cluster is sent that has not all that a job needs: this program, and which packages to install. Never
data, and no secret: whoever may look at the cluster's dashboard can read all of it."""

import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cluster.errors import JobError
from cluster.job_records import JobRecord

MAX_SENT_BYTES = 50_000_000
"""Ray holds it in the head's memory, and sends it to every node."""
_PROGRAM = tuple(dict.fromkeys(name.partition(".")[0] for name in ("jobs.cli", "pipeline.errors", "cluster.launch")))
"""All packages of this program; installed from a wheel it is one."""
_GRACE_S = 150
"""In which a job that is stopped must have saved; Ray itself gives three seconds."""
_SINCE = (1980, 1, 1, 0, 0, 0)


def runtime_environment(record: JobRecord, archive: Path | None = None) -> dict[str, Any]:
    """Ray's runtime environment of a job.

    Args:
        archive: of `write_archive`, where the program is sent.
    """
    site = record.site.ray
    environment: dict[str, Any] = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(_GRACE_S)}}
    if archive is not None:
        environment["working_dir"] = str(archive)
    if site.install is not None:
        options = {"pip": "pip_install_options", "uv": "uv_pip_install_options"}[site.install]
        environment[site.install] = {"packages": pinned_packages(), options: list(site.install_options)}
    return environment


def sent_files(record: JobRecord) -> dict[str, Path]:
    """The program's files, and those that the site names of the working folder, by their names in the archive.

    Raises:
        JobError: what is named is not there or outside of the working folder, or it is too much.
    """
    files = dict(sorted(_files(record)))
    total = sum(file.stat().st_size for file in files.values())
    if total > MAX_SENT_BYTES:
        largest = max(files.values(), key=lambda file: file.stat().st_size)
        raise JobError(
            f"ray.also: expected code and settings, at most {MAX_SENT_BYTES / 1e6:.0f} MB with this program, found "
            f"{total / 1e6:.0f} MB, {largest} among it; data belong on a storage that the nodes read"
        )
    return files


def write_archive(record: JobRecord, to: Path) -> None:
    """Write what is sent into a zip file: the same files make the same bytes, which Ray takes once. Raises as
    `sent_files`."""
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in sent_files(record).items():
            entry = zipfile.ZipInfo(name, _SINCE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, file.read_bytes())


def as_sent(record: JobRecord) -> JobRecord:
    """The record as it holds on the nodes, where Ray unpacks what was sent and makes it the working folder."""
    return record.model_copy(update={"directory": "."}) if record.site.ray.send else record


def pinned_packages(program: str = "gavt") -> list[str]:
    """The packages that a program needs, and those that they need, in the versions that are installed here. Ray itself
    is the cluster's.

    Raises:
        JobError: one is missing, or was installed from a place that the nodes may not have.
    """
    pinned: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    needed = [(program, "")]
    while needed:
        name, extra = needed.pop()
        key = canonicalize_name(name)
        if key == "ray" or (key, extra) in seen:
            continue
        seen.add((key, extra))
        package = _installed(name)
        if key != canonicalize_name(program):
            pinned[key] = _pin(package)
        for requirement in map(Requirement, package.requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                needed += [(requirement.name, more) for more in ("", *requirement.extras)]
    return [pinned[key] for key in sorted(pinned)]


def _files(record: JobRecord) -> Iterator[tuple[str, Path]]:
    """Names in the archive, and files."""
    for package in _PROGRAM:
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        yield from _below(Path(spec.origin).parent, package)
    working = Path(record.directory)
    for name in record.site.ray.also:
        path = (working / name).resolve()
        if not path.is_relative_to(working.resolve()):
            raise JobError(f"ray.also: expected a file or folder in the working folder {working}, found {name!r}")
        if not path.exists():
            raise JobError(f"ray.also: {path}: no such file or folder")
        yield from _below(path, str(path.relative_to(working.resolve())))


def _below(path: Path, name: str) -> Iterator[tuple[str, Path]]:
    if path.is_file():
        yield name, path
        return
    for file in path.rglob("*"):
        inside = file.relative_to(path)
        if file.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in inside.parts):
            yield f"{name}/{inside.as_posix()}", file


def _installed(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError:
        raise JobError(
            f"ray.install: expected {name} to be installed here, as nodes are to get the same version"
        ) from None


def _pin(package: Distribution) -> str:
    """What has an installer get the same version."""
    if package.read_text("direct_url.json") is not None:
        raise JobError(
            f"ray.install: expected packages that have a version on an index, found {package.name}, which was "
            "installed from a folder or an address; have it on the nodes"
        )
    return f"{package.name}=={package.version}"
