"""What offload to files needs is compiled once, whatever is killed meanwhile."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

_LOAD = """
from pipeline.train.engine.file_operations import load_file_operations
load_file_operations()
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    place = {"TORCH_EXTENSIONS_DIR": str(folder), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen([sys.executable, "-c", _LOAD], env=os.environ | place, start_new_session=True)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_build_that_was_killed_is_begun_again_and_two_starts_share_one(tmp_path):
    from deepspeed.ops.op_builder import AsyncIOBuilder

    if not AsyncIOBuilder().is_compatible(verbose=False):
        pytest.skip("libaio is not installed")
    killed = start(tmp_path)
    while not list(tmp_path.glob("*/pin_memory/lock")):
        assert killed.poll() is None
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    for name in ("pin_memory", "async_io"):  # older torch leaves such marks, and waits for their end
        (next(tmp_path.glob("gavt-*")) / name).mkdir(exist_ok=True)
        (next(tmp_path.glob("gavt-*")) / name / "lock").touch()
    both = [start(tmp_path) for _ in range(2)]
    try:
        assert [process.wait(2800) for process in both] == [0, 0]
    finally:
        for process in both:
            process.kill()
    assert len(list(tmp_path.glob("*/async_io/async_io.so"))) == 1


def test_a_folder_that_cannot_be_written_to_is_said(tmp_path, monkeypatch):
    from pipeline.errors import SettingsError
    from pipeline.train.engine.file_operations import load_file_operations

    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "file"))
    with pytest.raises(SettingsError, match="nvme needs a folder for what it compiles"):
        load_file_operations()
    assert os.environ["TORCH_EXTENSIONS_DIR"] == str(tmp_path / "file")
