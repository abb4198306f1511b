"""Names of files in a tar are split as webdataset splits them, in a time that grows as they do."""

import re
import time

from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.shards.foreign.naming import split_name

_WEBDATASET = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)", re.DOTALL)


@given(st.text(st.sampled_from("ab_./\n"), max_size=12))
@example("a/b/.jpg")
@example("b/.jpg")
@example("a.b/.jpg")
@example("//.jpg")
@example("..jpg")
def test_key_and_extension_are_webdatasets(name: str) -> None:
    match = _WEBDATASET.fullmatch(name)
    found = split_name(name)
    if re.match(r"__[^/]*__($|/)", name):
        assert found is None
    else:
        assert found == (None if match is None else (match[1], match[2].lower()))


def test_a_name_of_a_million_letters_takes_no_longer_than_it_is_long() -> None:
    for name in ("a" * 1_000_000, "a/" * 500_000, "_" * 1_000_000, "." * 1_000_000):
        begun = time.perf_counter()
        split_name(name)
        assert time.perf_counter() - begun < 1
