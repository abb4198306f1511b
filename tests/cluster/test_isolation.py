"""What happens in the other process stays there."""

import ctypes
import os
import time

import pytest

from cluster.errors import WorkerPoolError
from cluster.isolation import Isolated, ProcessLost


def test_results_and_exceptions_come_back_and_the_process_is_kept() -> None:
    with Isolated(os.getpid, 30, 1000) as pid:
        assert pid() == pid() != os.getpid()
    with Isolated(int, 30, 1000) as number:
        assert number("12") == 12
        with pytest.raises(ValueError, match="invalid literal"):
            number("twelve")
        assert number("13") == 13


def test_a_segmentation_fault_is_a_crash_and_the_next_call_works() -> None:
    with Isolated(ctypes.string_at, 30, 1000) as read:
        with pytest.raises(ProcessLost, match="died of signal 11") as caught:
            read(0)
        assert caught.value.fate == "crash"
        with pytest.raises(ctypes.ArgumentError):
            read(1.5)


def test_an_exit_is_a_crash() -> None:
    with Isolated(os._exit, 30, 1000) as leave, pytest.raises(ProcessLost, match="ended with code 3"):
        leave(3)


def test_a_hanging_call_is_ended_at_its_deadline() -> None:
    with Isolated(time.sleep, 0.5, 1000) as sleep:
        with pytest.raises(ProcessLost, match=r"took longer than 0\.5 s") as caught:
            sleep(60)
        assert caught.value.fate == "timeout"


def allocate(megabytes: int) -> None:
    held = bytearray(os.urandom(1) * (megabytes * 1_000_000))
    time.sleep(20)
    del held


def test_a_call_that_takes_too_much_memory_is_ended() -> None:
    with Isolated(allocate, 30, 300) as call, pytest.raises(ProcessLost, match="more than 300 MB") as caught:
        call(600)
    assert caught.value.fate == "memory"


def test_the_process_ends_with_its_parent() -> None:
    call = Isolated(time.sleep, 30, 1000)
    call(0)
    process = call._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(10) == 0
    call.close()


def test_a_function_that_cannot_be_imported_there_is_not_the_calls_fault() -> None:
    def local() -> None:
        """Inside a function, so that nobody can import it."""

    with Isolated(local, 30, 1000) as call, pytest.raises(WorkerPoolError, match="can't import it"):
        call()
