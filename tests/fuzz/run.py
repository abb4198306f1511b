"""Fuzz a place for long: `python tests/fuzz/run.py PLACE MINUTES [FOLDER]`, PLACE of http, tars, members, lists,
settings.

atheris looks for inputs that reach new code where it is installed, else seeds are changed by chance. What breaks a
promise, ends the process, takes longer than 30 s or more than 3 GB is kept in FOLDER (`fuzz-PLACE` unless given).
"""

import random
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

_MOST_BYTES = 1 << 16


def main() -> None:
    """The command."""
    name, minutes = sys.argv[1], float(sys.argv[2])
    folder = Path(sys.argv[3] if len(sys.argv) > 3 else f"fuzz-{name}")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import atheris
    except ImportError:
        _by_chance(name, minutes, folder)
        return
    with atheris.instrument_imports(include=["pipeline", "cluster", "yaml", "csv", "json", "tarfile"]):
        from fuzz.targets import TARGETS
    seeds = folder / "seeds"
    seeds.mkdir(exist_ok=True)
    for number, seed in enumerate(TARGETS[name].seeds()):
        (seeds / f"seed-{number}").write_bytes(seed)
    words = [
        sys.argv[0],
        f"-max_total_time={minutes * 60:.0f}",
        f"-max_len={_MOST_BYTES}",
        "-timeout=30",
        "-rss_limit_mb=3000",
        f"-artifact_prefix={folder}/",
        str(seeds),
    ]
    atheris.Setup(words, TARGETS[name].check)
    atheris.Fuzz()


def _by_chance(name: str, minutes: float, folder: Path) -> None:
    from fuzz.targets import TARGETS, mutated

    target, chance = TARGETS[name], random.Random()
    seeds, until, tried = target.seeds(), time.monotonic() + minutes * 60, 0
    while time.monotonic() < until:
        content = mutated(chance.choice(seeds), chance)
        (folder / "last").write_bytes(content)  # what a process that ends here was at
        try:
            target.check(content)
        except Exception:
            (folder / f"broken-{tried}").write_bytes(content)
            raise
        tried += 1
    print(f"{name}: {tried} inputs in {minutes:g} minutes, none broke the promise")


if __name__ == "__main__":
    main()
