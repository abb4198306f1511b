"""The house stays small and goes one way: sizes of files and functions, directions of imports."""

import ast
import re
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
FILES = [file for package in ("jobs", "pipeline", "cluster") for file in (REPOSITORY / package).rglob("*.py")]
LENGTHS = {str(file.relative_to(REPOSITORY)): file.read_text(encoding="utf-8").count("\n") for file in FILES}


def test_no_file_is_longer_than_400_lines_and_half_of_them_have_at_most_100() -> None:
    assert {name: length for name, length in LENGTHS.items() if length > 400} == {}
    assert statistics.median(LENGTHS.values()) <= 100


def test_no_function_is_longer_than_100_lines() -> None:
    lengths = {
        f"{file.relative_to(REPOSITORY)}::{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: length for name, length in lengths.items() if length > 100} == {}


def test_no_two_files_of_tests_have_one_name() -> None:
    """Of which pytest would leave one out."""
    files = (REPOSITORY / "tests").rglob("test_*.py")
    counted = Counter(file.name for file in files if not (file.parent / "__init__.py").exists())
    assert [name for name, count in counted.items() if count > 1] == []


def test_packages_import_downwards_and_in_no_circle() -> None:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


DEEPSPEEDS = re.compile(
    r"_?deepspeed|ds_\w+|_hp_mapping|\w*(fp16|fp32|bit16)_\w*groups\w*|loss_scaler|param_groups|basic_optimizer|"
    r"checkpoint_engine|zero_\w*optimiz\w+|\w+_cpu_offload|get_global_grad_norm|was_step_applied"
)
"""Names of what DeepSpeed's objects have."""


def test_what_deepspeed_has_is_asked_for_in_the_engines_folder_alone() -> None:
    found = [
        f"{file.relative_to(REPOSITORY)}:{node.lineno} {ast.unparse(node)}"
        for file in FILES
        if REPOSITORY / "pipeline/train/engine" not in file.parents
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        if DEEPSPEEDS.fullmatch(node.attr) or ast.unparse(node).endswith("engine.optimizer")
    ]
    assert found == []
