"""Whatever the headers of a tar say, following them ends, with little memory, and damage is named."""

import io
import os
import tarfile
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import storage
from pipeline.shards.foreign.index import open_foreign
from pipeline.shards.tar_members import BLOCK, DamagedTarError, Member, walk
from pipeline.shards.tar_run import read_members
from raw_tar import binary_size, header, member, pax, tar_of

END = bytes(2 * BLOCK)
_BOMB = 100_000  # bytes of a bomb


def found(tar: bytes) -> list[Member]:
    return list(walk(lambda at, size: tar[at : at + size], len(tar)))


WRONG_SIZES = [b"-1000", b"-0", b"+5", b"0o17", b"1_0", b"9", b"0x1f", binary_size(-2000), b"\x81" + bytes(11)]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("size", WRONG_SIZES)
def test_a_size_that_is_none_ends_the_tar_there(size: bytes) -> None:
    whole = member(b"a.txt", b"whole")
    tar = whole + header(b"b.txt", size) + member(b"c.txt", b"") * 3 + END
    with pytest.raises(DamagedTarError, match="expected the size of a file") as damage:
        found(tar)
    assert damage.value.at == len(whole)


@pytest.mark.timeout(20)
def test_a_size_below_zero_ends_verifying_a_sample() -> None:
    with pytest.raises(ValueError, match="expected the size"):
        list(read_members(header(b"k.jpg", binary_size(-1024)) + bytes(BLOCK)))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("size", [1 << 40, 1 << 63, (1 << 87) - 1])
def test_a_size_beyond_the_tar_is_damage_also_where_no_processor_can_count_so_far(size: int) -> None:
    with pytest.raises(DamagedTarError, match="ends inside a file"):
        found(header(b"a.txt", binary_size(size)) + END)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "headers",
    [
        pax([(b"size", b"9" * 5000)]),
        pax([(b"size", "٣".encode())]),
        pax([(b"size", b"-512")]),
        pax([(b"path", b"n" * 5000)]),
        member(b"PaxHeaders", b"9" * 5000 + b" path=a\n", b"x"),
        member(b"PaxHeaders", b"0 path=a\n", b"x"),
        member(b"PaxHeaders", b"", b"x", size=1 << 30),
        member(b"././@LongLink", b"n" * 5000, b"L"),
        member(b"././@LongLink", b"", b"L", size=1 << 34),
    ],
)
def test_numbers_and_names_of_any_length_in_extended_headers_are_damage(headers: bytes) -> None:
    with pytest.raises(DamagedTarError):
        found(headers + member(b"a.txt", b"") + END)


@pytest.mark.timeout(20)
def test_floods_of_extended_headers_take_a_time_and_memory_that_grow_as_they_do() -> None:
    records = pax([(b"", b"")] * (_BOMB // 4))
    names = b"".join(member(b"././@LongLink", b"n" * 4000, b"L") for _ in range(_BOMB // 4608))
    for headers in (records, names, pax([(b"path", b"a")]) * (_BOMB // 1024)):
        tar = headers + member(b"a.txt", b"it") + END
        tracemalloc.start()
        begun = time.perf_counter()
        (one,) = found(tar)
        assert time.perf_counter() - begun < 5
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert one.size == 2
        assert peak < 20 * len(tar)


def test_the_samples_before_a_hostile_header_are_used(tmp_path: Path) -> None:
    files = {f"{key}.{kind}": b"content" for key in "ab" for kind in ("jpg", "flac")}
    (tmp_path / "a.tar").write_bytes(tar_of(files)[: -2 * BLOCK] + header(b"c.jpg", binary_size(-2048)) + END)
    index = open_foreign(str(tmp_path))
    assert index is not None
    assert index.shards == [("a.tar", 2)]
    assert b"expected the size of a file" in storage.read_bytes(f"{index.indexes}/a.json")


fields = st.one_of(
    st.integers(0, 1 << 12),
    st.integers(-(1 << 80), 1 << 80).map(binary_size),
    st.binary(max_size=12),
)
pieces = st.one_of(
    st.builds(
        lambda name, content, kind, size: member(name, content, kind, size),
        st.binary(max_size=120),
        st.binary(max_size=700),
        st.sampled_from(b"0\x007156xgLKS").map(lambda kind: bytes([kind])),
        st.none() | fields,
    ),
    st.builds(pax, st.lists(st.tuples(st.sampled_from([b"path", b"size", b""]), st.binary(max_size=40)), max_size=4)),
    st.binary(max_size=1100),
    st.just(bytes(BLOCK)),
)


@given(st.lists(pieces, max_size=8), st.integers(0, 64), st.integers(0, 255))
def test_any_tar_is_followed_to_its_end_or_to_where_it_is_damaged(parts: list[bytes], place: int, byte: int) -> None:
    tar = bytearray(b"".join(parts))
    if place < len(tar):
        tar[place] = byte
    check_tar(bytes(tar))


def check_tar(tar: bytes) -> None:
    """What holds for any bytes: an end after as many steps as there are blocks, files within the tar and in order."""
    members: list[Member] = []
    with suppress(DamagedTarError):
        for one in walk(lambda at, size: tar[at : at + size], len(tar)):
            members.append(one)
            assert len(members) <= len(tar) // BLOCK
    at = 0
    for one in members:
        assert at <= one.start < one.data <= one.data + one.size <= one.end
        assert one.data + one.size <= len(tar)
        assert len(one.name) <= 4096
        at = one.end
    for beginning in (False, True):
        try:
            strict = list(read_members(tar, beginning=beginning))
        except ValueError:
            continue
        assert sum(len(content) for _, content in strict) <= len(tar)


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_tarfile_writes_is_found_whole(format: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name in ("a" * 300 + ".txt", "é" * 200 + ".txt"):
            info = tarfile.TarInfo(name)
            content = os.urandom(600)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    assert [one.size for one in found(buffer.getvalue())] == [600, 600]
