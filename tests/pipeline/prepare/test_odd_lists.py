"""Lists and folders as people have them: odd entries cost no more than themselves, and what is refused is told why."""

import os
import socket
from pathlib import Path

import pytest
from written_lists import rows_of

from barcode_video import write_video
from listed_rows import ListedRows
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.options import ListOptions
from pipeline.prepare.manifests.presence import missing
from pipeline.prepare.manifests.read import VideoList
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.prepare import in_this_process, prepare
from pipeline.prepare.settings import PrepareSettings
from pipeline.shards.ledger import read_ledger

SMALL = PrepareSettings(min_clip_s=1, frame_rate_hz=1, audio_samples=11025)


def nest(folder: Path) -> Path:
    """A folder that nobody can list by its path, which is longer than the system allows."""
    place = os.open(folder, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=place)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)
    return folder


def test_an_odd_entry_of_a_folder_is_a_row_of_the_ledger_and_the_others_are_prepared(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    write_video(folder / "ok.mp4", 3)
    (folder / "dangling.mp4").symlink_to("nothing.mp4")
    os.mkfifo(folder / "fifo.mp4")
    (folder / "self.mp4").symlink_to("self.mp4")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "deep").mkdir()
    (folder / "deep/again").symlink_to("../deep", target_is_directory=True)
    with socket.socket(socket.AF_UNIX) as end:
        here = os.getcwd()
        os.chdir(folder)  # a socket's whole path is short
        end.bind("socket.mp4")
        os.chdir(here)
    out = str(tmp_path / "out")
    dataset = prepare(ListedRows(rows_of(folder)), out, SMALL, in_this_process)
    reasons = {entry.video: (entry.reason, entry.message) for entry in read_ledger(out)}
    assert dataset.samples > 0
    assert reasons == {
        "dangling": ("missing", "it links to a file that isn't there"),
        "fifo": ("unreadable", "it is a pipe or a device"),
        "ok": (None, None),
        "self": ("unreadable", "reading it failed: Too many levels of symbolic links"),
        "socket": ("unreadable", "it is a pipe or a device"),
    }


def test_a_folder_that_can_t_be_listed_is_named_and_left_out_where_wrong_rows_are(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "a.mp4").touch()
    (nest(folder) / "z.mp4").touch()
    with pytest.raises(ManifestError, match=r"f: expected folders that can be listed, found '.*dd.*File name too long"):
        rows_of(folder)
    videos = VideoList([str(folder)], ListOptions(skip_wrong=True))
    assert [row.video for row in videos] == ["a", "z"]
    assert videos.wrong.count == 1
    assert videos.fingerprint() == VideoList([str(folder)], ListOptions(skip_wrong=True)).fingerprint()


def test_a_name_that_is_no_utf8_is_named_and_left_out_where_wrong_rows_are(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / os.fsdecode(b"b\xff.mp4")).touch()
    with pytest.raises(ManifestError, match="expected UTF-8 text, found byte 0xff in"):
        rows_of(tmp_path)
    assert [row.video for row in rows_of(tmp_path, skip_wrong=True)] == ["a"]


def test_folders_may_lie_deeper_in_each_other_than_functions(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 1500)
    for folder in [*reversed(deep.parents[:1499]), deep]:
        folder.mkdir()
    (deep / "a.mp4").touch()
    try:
        assert [row.video for row in rows_of(tmp_path)] == ["a"]
    finally:  # pytest would walk it by functions that call each other
        (deep / "a.mp4").unlink()
        for folder in [deep, *deep.parents[:1499]]:
            folder.rmdir()


def test_a_link_to_a_folder_that_is_walked_anyway_gives_its_videos_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"f/{name}").mkdir(parents=True)
        (tmp_path / f"f/{name}/{name}.mp4").touch()
    (tmp_path / "f/a/to_b").symlink_to("../b", target_is_directory=True)
    (tmp_path / "f/b/to_a").symlink_to("../a", target_is_directory=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/c.mp4").touch()
    (tmp_path / "f/linked").symlink_to("../elsewhere", target_is_directory=True)
    assert [row.video for row in rows_of(tmp_path / "f")] == ["a", "b", "c"]


@pytest.mark.parametrize("form", ["file://{}", "FILE://{}", "file://localhost{}", "file://LocalHost{}", "file:{}"])
def test_addresses_of_files_are_paths(form: str, tmp_path: Path) -> None:
    for name in ("b c.mp4", "ü%.mp4"):
        (tmp_path / name).touch()
    listed = tmp_path / "l.csv"
    urls = [form.format(f"{tmp_path}/{name}") for name in ("b%20c.mp4", "%C3%BC%25.mp4", "gone%20.mp4")]
    listed.write_text("\n".join(["source", *urls]))
    rows = rows_of(listed)
    assert [row.source for row in rows] == [f"{tmp_path}/{name}" for name in ("b c.mp4", "ü%.mp4", "gone .mp4")]
    assert [place for _, place in missing(rows)] == [f"{tmp_path}/gone .mp4"]
    plain = tmp_path / "l.txt"
    plain.write_text("\n".join(urls))
    assert [row.source for row in rows_of(plain)] == [row.source for row in rows]
    assert rows_of(urls[0])[0].source == f"{tmp_path}/b c.mp4"
    ids = tmp_path / "ids.csv"
    ids.write_text("glLQrEijrKg_000300\n")
    assert rows_of(ids, source=form.format("/a%20b/{video}.mp4"))[0].source == "/a b/glLQrEijrKg_000300.mp4"


@pytest.mark.parametrize("url", ["file://server/a.mp4", "file://videos/a.mp4", "file://a.mp4"])
def test_addresses_of_files_on_other_machines_are_refused(url: str, tmp_path: Path) -> None:
    listed = tmp_path / "l.csv"
    listed.write_text(f"source\n{url}\n")
    with pytest.raises(ManifestError, match=r"l\.csv:2: expected a file on this machine, file:///…, found host '"):
        rows_of(listed)
    with pytest.raises(ManifestError, match="expected a file on this machine"):
        rows_of(url)
    with pytest.raises(ManifestError, match="--source .*expected a file on this machine"):
        rows_of(
            listed, source=f"{url.removesuffix('a.mp4')}{{video}}.mp4" if url != "file://a.mp4" else "file://{video}"
        )


def test_schemes_may_be_written_large(tmp_path: Path) -> None:
    listed = tmp_path / "l.csv"
    listed.write_text("source\nS3://bucket/A.mp4\nHTTPS://www.youtube.com/watch?v=glLQrEijrKg\n")
    assert [row.source for row in rows_of(listed)] == ["s3://bucket/A.mp4", "youtube:glLQrEijrKg"]


OWN = 'Source{0} Labels {0}START_S{0}end_s\n/v/a.mp4{0}violin{0}1{0}2.5\n/v/b, c.mp4{0}"cello; flute"{0}{0}\n'
FOUND = [("/v/a.mp4", ("violin",), 1.0, 2.5), ("/v/b, c.mp4", ("cello", "flute"), None, None)]


def values_of(rows: list[VideoRow]) -> list[tuple[object, ...]]:
    return [(row.source, row.labels, row.start_s, row.end_s) for row in rows]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_tables_of_any_delimiter_encoding_and_line_end_are_read(
    delimiter: str, encoding: str, end: str, tmp_path: Path
) -> None:
    listed = tmp_path / "l.csv"
    listed.write_bytes(OWN.format(delimiter).replace("\n", end).encode(encoding))
    assert values_of(rows_of(listed)) == FOUND


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_utf16_by_its_mark_is_read_in_every_format(order: str, tmp_path: Path) -> None:
    mark = "\ufeff".encode(order)
    for name, text in (
        ("l.txt", "/v/ü.mp4\n"),
        ("l.jsonl", '{"source": "/v/ü.mp4"}\n'),
        ("v.csv", 'glLQrEijrKg,30,"ü, ö",test\n'),
    ):
        (tmp_path / name).write_bytes(mark + text.encode(order))
        assert "ü" in repr(rows_of(tmp_path / name))


def test_lists_of_datasets_may_have_tabs_or_semicolons(tmp_path: Path) -> None:
    (tmp_path / "v.tsv").write_text("glLQrEijrKg\t30\tman, singing\ttest\nglLQrEijrKh\t40\tbell\ttrain\n")
    assert [(row.start_s, row.labels) for row in rows_of(tmp_path / "v.tsv")] == [
        (30, ("man, singing",)),
        (40, ("bell",)),
    ]
    (tmp_path / "k.csv").write_text("Label;YouTube ID;time_start;time_end;split\nsinging;---QUuC4vJs;84;94;test\n")
    assert [(row.video, row.end_s, row.split) for row in rows_of(tmp_path / "k.csv")] == [
        ("---QUuC4vJs_000084", 94, "test")
    ]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("l.csv", b"path,labels\n/v/a.mp4,x\n", "found 'path'; did you mean 'source'?"),
        ("l.csv", b"FileName;Label\n/v/a.mp4;x\n", "found 'filename'; did you mean 'source'?"),
        ("l.csv", b"source,VIDEO_ID\n/v/a.mp4,x\n", "found 'video_id'; did you mean 'video'?"),
        ("l.csv", b"source,start\n/v/a.mp4,1\n", "found 'start'; did you mean 'start_s'?"),
        ("l.csv", "source\n/v/a.mp4\n".encode("utf-16-le"), "UTF-16 without a byte-order mark"),
        ("l.csv", b"\xff\xfes\x00o\x00x", "expected utf-16-le text, as its byte-order mark says"),
        ("l.csv", "source\n/v/é.mp4\n".encode("latin-1"), "l.csv:2: expected UTF-8 text, found byte 0xe9 in '/v/"),
        ("l.csv", "source\n/v/é.mp4\n".encode("latin-1"), "save the list as UTF-8"),
        (
            "l.txt",
            b"/v/a.mp4\tviolin\n",
            "l.txt:1: expected a path alone in its line, found 'violin' behind '/v/a.mp4'",
        ),
        ("l.txt", b"/v/a.mp4 3\n", "found '3' behind '/v/a.mp4'; a list with more than paths needs a header"),
        ("l.csv", b"a.mp4,violin\n", "a table of your own needs a header with a column named source"),
        ("l.csv", b"source;labels\n/v/a.mp4;x;y\n", "l.csv:2: expected 2 cells as in the header, found 3"),
    ],
)
def test_what_can_t_be_read_is_told_by_its_cause(name: str, content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError) as caught:
        rows_of(tmp_path / name)
    assert sentence in str(caught.value)
