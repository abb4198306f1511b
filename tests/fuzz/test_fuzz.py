"""Every place that takes bytes from others keeps its promise for a few hundred of them; `run.py` tries millions."""

import random
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.targets import TARGETS, mutated

EXAMPLES = {"http": 80, "tars": 400, "members": 300, "lists": 200, "settings": 200}


@cache
def seeds(name: str) -> list[bytes]:
    return TARGETS[name].seeds()


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_as_it_should_be_keeps_the_promise(name: str) -> None:
    for seed in seeds(name):
        TARGETS[name].check(seed)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", TARGETS)
def test_what_is_not_as_it_should_be_keeps_it_too(name: str) -> None:
    @settings(
        max_examples=EXAMPLES[name],
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    @given(st.sampled_from(seeds(name)), st.integers(0, 2**32))
    def check(seed: bytes, number: int) -> None:
        TARGETS[name].check(mutated(seed, random.Random(number)))

    check()
