"""Whether the installed packages are those that are known to work together."""

from importlib import metadata

from packaging.requirements import Requirement

from cluster.doctor.finding import Finding


def requirements(distribution: str) -> list[Requirement]:
    """What a distribution asks for on this machine, without its extras.

    Raises:
        metadata.PackageNotFoundError: it is not installed.
    """
    asked = [Requirement(text) for text in metadata.requires(distribution) or []]
    return [one for one in asked if one.marker is None or one.marker.evaluate({"extra": ""})]


def versions(distribution: str) -> dict[str, str]:
    """The version of each package that a distribution asks for; empty where nobody installed it as one."""
    found = {}
    try:
        asked = requirements(distribution)
    except metadata.PackageNotFoundError:
        return {}
    for one in asked:
        try:
            found[one.name] = metadata.version(one.name)
        except metadata.PackageNotFoundError:
            found[one.name] = "none"
    return found


def packages(distribution: str) -> Finding:
    """Whether each package that a distribution asks for is there, in a version that it takes."""
    try:
        asked = requirements(distribution)
    except metadata.PackageNotFoundError:
        advice = "install it (pip install -e .), so that its versions can be checked"
        return Finding("versions", "warn", f"{distribution} is not installed as a package", advice)
    there = versions(distribution)
    wrong = [one for one in asked if not one.specifier.contains(there[one.name], prereleases=True)]
    if not wrong:
        return Finding("versions", "ok", f"all {len(asked)} packages as {distribution} asks for")
    shown = ", ".join(f"{one.name} {there[one.name]} instead of {one.specifier or 'any'}" for one in wrong)
    words = " ".join(f"'{one.name}{one.specifier}'" for one in wrong)
    return Finding("versions", "fail", shown, f"pip install {words}")


def differences(by_machine: dict[str, dict[str, str]]) -> Finding:
    """Whether the machines of a job have the same versions."""
    machines = list(by_machine)
    first = by_machine[machines[0]]
    other = {
        machine: ", ".join(
            f"{name} {found.get(name, 'none')} instead of {first.get(name, 'none')}"
            for name in sorted(first | found)
            if found.get(name) != first.get(name)
        )
        for machine, found in by_machine.items()
    }
    wrong = [f"{machine}: {said}" for machine, said in other.items() if said]
    if not wrong:
        return Finding("same versions", "ok", f"the same on {len(machines)} machine{'s' * (len(machines) > 1)}")
    advice = f"give all machines the environment of {machines[0]} (a shared one, or one container)"
    return Finding("same versions", "fail", "; ".join(wrong), advice)
