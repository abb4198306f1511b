"""Run benchmarks and print a line each: name, figure, limit, ok, and the peer that it was measured against.

    python tests/benchmarks/run.py [NAME…] [--json]

A benchmark is a file NAME.py beside this one with a function `run() -> list[Result]`. Exit code 0: all keep their
limits; 1: one does not, or broke, or nothing was measured; 2: there is no such benchmark. One that needs another
machine is said to be left out. Each has a process of its own, so that threads, memory and process groups of one are not
the next one's.
"""

import argparse
import importlib
import json
import sys
import traceback
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent
# benchmarks import files beside them, the packages from the repository, and the helpers of the tests
sys.path[:0] = [str(HERE), str(HERE.parents[1]), str(HERE.parent)]

if TYPE_CHECKING:
    from result import Result

OURS = {"run", "result"}


def known() -> list[str]:
    """Names of all benchmarks."""
    return sorted(
        file.stem for file in HERE.glob("*.py") if file.stem not in OURS and not file.stem.startswith(("_", "test_"))
    )


def line(result: "Result") -> str:
    """A result for people."""
    unit = f" {result.unit}" if result.unit else ""
    verdict = "ok" if result.ok else "NOT OK"
    figures = f"{result.figure:10.4g}{unit}  limit {result.limit:.4g}{unit}"
    return f"{result.name:<36} {figures:<36} {verdict:<7} against {result.peer}"


def measure(name: str) -> "list[Result]":
    """What a benchmark finds."""
    found: list[Result] = importlib.import_module(name).run()
    return found


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Run benchmarks against their limits.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all ({', '.join(known())})")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line of stdout")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in known()]
    if unknown:
        print(f"benchmark {unknown[0]!r}: no such benchmark; known are {', '.join(known())}", file=sys.stderr)
        return 2
    from result import NotHere

    results: list[Result] = []
    broken: list[str] = []
    left_out: list[str] = []
    for name in given.names or known():
        try:
            with ProcessPoolExecutor(1, get_context("spawn")) as alone:
                found = alone.submit(measure, name).result()
            if not found:
                raise ValueError(f"{name}: expected results, found none")
        except NotHere as lack:
            left_out.append(name)
            print(f"{name:<36} not measured: {lack}", file=sys.stderr)
            continue
        except Exception:  # one that breaks is said, and does not hide the others
            traceback.print_exc()
            broken.append(name)
            continue
        for result in found:
            print(line(result), file=sys.stderr if given.json else sys.stdout, flush=True)
        results += found
    for name in broken:
        print(f"{name:<36} broke (traceback above)", file=sys.stderr)
    if given.json:
        print(json.dumps({"results": [asdict(result) for result in results], "broken": broken, "left_out": left_out}))
    if not results:
        print("nothing was measured", file=sys.stderr)
    return 0 if results and not broken and all(result.ok for result in results) else 1


if __name__ == "__main__":
    # spawned children import this file again and must not start over
    raise SystemExit(main())
