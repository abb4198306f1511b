"""A sample's files come out of any tar as tarfile reads them, and damage is named."""

import io
import tarfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.samples.metadata import SampleMetadata
from pipeline.shards.members import contents, read_sample
from pipeline.shards.tar_members import DamagedTarError, walk

METADATA = SampleMetadata(
    video="v", source="v.mp4", frame_times_s=[1.0], audio_start_s=0.5, audio_rate_hz=11025, audio_samples=3
)
FILES = {"k.json": METADATA.model_dump_json().encode(), "k.jpg": b"picture" * 99, "k.flac": b"sound" * 300}


def tar_of(files: dict[str, bytes], format: int = tarfile.USTAR_FORMAT, mtime: float = 0) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), mtime
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def crc_of(files: dict[str, bytes]) -> int:
    return zlib.crc32(b"".join(files.values()))


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=150).filter(
    lambda name: name.strip() and name not in (".", "..")
)


@given(
    st.dictionaries(names, st.binary(max_size=1500), max_size=6),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.sampled_from([0, 1.5]),
)
def test_files_are_what_tarfile_finds(files: dict[str, bytes], format: int, mtime: float) -> None:
    tar = tar_of(files, format, mtime)
    with tarfile.open(fileobj=io.BytesIO(tar)) as reader:
        wanted = [(member.name, reader.extractfile(member).read()) for member in reader]
    assert list(contents(tar)) == wanted


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("folder", ["", "train/", "a" * 60 + "/" + "b" * 60 + "/"])
def test_long_names_come_whole(format: int, folder: str) -> None:
    tar = tar_of({f"{folder}{name}": content for name, content in FILES.items()}, format)
    assert dict(contents(tar)) == {f"{folder}{name}": content for name, content in FILES.items()}


def test_folders_and_links_are_passed_over() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind in (("folder", tarfile.DIRTYPE), ("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "elsewhere"
            tar.addfile(member)
        member = tarfile.TarInfo("k.txt")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"abc"))
    assert list(contents(buffer.getvalue())) == [("k.txt", b"abc")]


def test_where_a_file_lies_counts_its_extended_headers() -> None:
    tar = tar_of({"é" * 80: b"one", "b": b"two"}, tarfile.PAX_FORMAT)
    first, second = walk(lambda at, size: tar[at : at + size], len(tar))
    assert (first.start, first.end) == (0, second.start)
    assert first.data == 3 * 512
    assert tar[second.data : second.data + second.size] == b"two"


def test_a_sample_is_read_and_its_checksum_compared() -> None:
    content = tar_of(FILES)
    sample = read_sample(content, "k", crc_of(FILES))
    assert (sample.images, sample.audio, sample.clip) == ([FILES["k.jpg"]], FILES["k.flac"], None)
    assert sample.metadata == METADATA
    broken = bytearray(content)
    broken[content.index(b"picture") + 20] ^= 1
    assert read_sample(bytes(broken), "k").images != sample.images
    with pytest.raises(ValueError, match=r"k: expected files with the checksum [0-9a-f]{8}, found [0-9a-f]{8}"):
        read_sample(bytes(broken), "k", crc_of(FILES))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tar_of(FILES | {"k.json": b"{}"}), r"k\.json: video: Field required"),
        (tar_of(FILES)[:1100], "damaged tar .*the tar ends inside"),
        (tar_of(FILES)[:700], "damaged tar .*the tar ends inside"),
        (b"x" * 2048, "damaged tar .*byte 0: expected the header of a file"),
        (b"", r"no k\.json in it"),
        (tar_of({f"other.{name}": b"" for name in FILES}), r"no k\.json in it"),
    ],
)
def test_what_is_no_whole_sample_is_refused_with_a_sentence(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_sample(content, "k")


def test_all_files_of_a_sample_are_there_by_what_their_names_end_with() -> None:
    files = {"k.json": FILES["k.json"], "k.visual.npy": b"features", "k.poses.json": b"[]"}
    sample = read_sample(tar_of(files), "k", crc_of(files))
    assert sample.files == {"json": FILES["k.json"], "visual.npy": b"features", "poses.json": b"[]"}
    assert (sample.images, sample.audio) == ([], b"")


@given(st.integers(0, 511), st.integers(0, 7))
def test_a_changed_bit_in_a_header_never_gives_another_file(byte: int, bit: int) -> None:
    tar = bytearray(tar_of(FILES))
    tar[byte] ^= 1 << bit
    try:
        found = list(contents(bytes(tar)))
    except ValueError:
        return
    assert found == list(FILES.items())


def test_what_lies_before_damage_is_given() -> None:
    tar = bytearray(tar_of(FILES))
    third = tar.index(b"k.flac")
    tar[third + 130] ^= 1
    found = []
    with pytest.raises(DamagedTarError, match=f"byte {third}: .*checksum") as caught:
        found.extend(walk(lambda at, size: bytes(tar[at : at + size]), len(tar)))
    assert caught.value.at == third
