"""What a start of training does without: every restart of every process pays for what is imported and tried out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.train.engine.build import choose_kernels
from pipeline.train.engine.without_compiler import need_compiler
from pipeline.train.settings import TrainSettings
from tiny_training import Command

UNNEEDED = ("torch._dynamo", "torch._inductor", "sympy", "triton", "torchvision", "matplotlib", "setuptools")
UNNEEDED += ("wandb.sdk.launch", "opentelemetry.sdk")
SCRIPT = f"""
import json, subprocess, sys
called = []
sys.addaudithook(lambda event, words: called.append(words[0]) if event == "subprocess.Popen" else None)
from jobs.cli import main
try:
    main(sys.argv[1:])
finally:
    there = [name for name in {UNNEEDED!r} if name in sys.modules]
    compilers = [str(one) for one in called if str(one).endswith(("cc", "c++", "g++"))]
    print(json.dumps({{"there": there, "compilers": compilers}}))
"""


def test_a_whole_training_imports_no_compiler_and_calls_none(command: Command, tmp_path: Path) -> None:
    words = ["train", str(command.config), "train.steps=2", "train.validate_every=1", "--run", str(tmp_path / "run")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"there": [], "compilers": []}
    assert "untested optimizer" not in done.stdout + done.stderr


def test_what_ranks_are_forked_from_has_one_thread_no_gpu_and_all_that_training_imports() -> None:
    code = (
        "import os, sys; from jobs.cli import get_ready; get_ready(['train']); import torch; "
        "print(len(os.listdir('/proc/self/task')), flush=True); os.fork() and (os.wait(), os._exit(0)); "
        "print(torch.cuda.is_initialized(), torch._C._cuda_isInBadFork(), "
        "*(name in sys.modules for name in ('pipeline.train.loop', 'deepspeed.runtime.engine', 'wandb', 'triton')))"
    )
    # two threads each: what starts them as it is imported would be seen
    environment = os.environ | {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=280)
    assert done.stdout.split() == ["1", "False", "False", "True", "True", "False", "False"], done.stderr


@pytest.mark.parametrize("compiles", [False, True])
def test_operations_are_repeatable_or_as_fast_as_can_be_with_and_without_the_compiler(compiles: bool) -> None:
    before = torch.get_deterministic_debug_mode()
    try:
        for deterministic, mode in ((True, 2), (False, 0)):  # 1 would warn, and let attention be as it likes
            choose_kernels(TrainSettings(compile=compiles, deterministic=deterministic), on_gpu=False)
            assert torch.get_deterministic_debug_mode() == mode
            assert torch.backends.cudnn.benchmark is not deterministic
    finally:
        torch.set_deterministic_debug_mode(before)
        torch.backends.cudnn.benchmark = False


def test_what_the_compiler_must_not_look_into_is_hidden_from_it_where_something_is_compiled() -> None:
    hidden = torch.optim.Optimizer.add_param_group.__wrapped__  # type: ignore[attr-defined]
    before = vars(hidden).get("__dynamo_disable")
    try:
        vars(hidden).pop("__dynamo_disable", None)
        need_compiler(False)
        assert vars(hidden)["__dynamo_disable"] is hidden
        need_compiler(True)
        assert "__dynamo_disable" not in vars(hidden)
    finally:
        if before is not None:
            vars(hidden)["__dynamo_disable"] = before
