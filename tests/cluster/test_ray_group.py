"""What a node does for a job: a script, its signals, its end."""

import os
import signal
import threading
from pathlib import Path

from cluster.launchers.ray_group import RankGroup
from small_job import wait_until


def test_a_script_has_its_variables_no_thread_count_of_ray_and_its_starter_as_parent(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    said = tmp_path / "said"
    assert RankGroup().run(1, f'echo "$RANK ${{OMP_NUM_THREADS:-none}} $PPID" > {said}; exit 75', {"RANK": "3"}) == 75
    assert said.read_text() == f"3 none {os.getpid()}\n"


def test_a_script_that_a_signal_ended_gives_128_and_its_number() -> None:
    assert RankGroup().run(1, "kill -9 $$", {}) == 137


def test_a_signal_reaches_a_script_that_runs_and_one_that_begins_after_it(tmp_path: Path) -> None:
    group, codes = RankGroup(), []
    script = f"trap 'exit 75' TERM; touch {tmp_path / 'ready'}; while true; do sleep 0.05; done"
    running = threading.Thread(target=lambda: codes.append(group.run(1, script, {})))
    running.start()
    wait_until((tmp_path / "ready").exists)
    group.signal(1, signal.SIGTERM)
    running.join(10)
    assert codes == [75]
    early = RankGroup()
    early.signal(2, signal.SIGTERM)
    assert early.run(1, "exit 3", {}) == 3
    assert early.run(2, "sleep 60", {}) == 128 + signal.SIGTERM
