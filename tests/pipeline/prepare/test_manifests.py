"""Any list of videos becomes rows with unique ids, and a wrong row a sentence that names file and line."""

import gzip
import json
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from written_lists import put, rows_of

from cluster import storage
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.read import ListOptions, VideoList
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.manifests.unique import DigestTable, as_numbers, digests_of
from pipeline.prepare.manifests.write import write_list


def test_a_folder_is_walked_for_videos(tmp_path: Path) -> None:
    for name in ("b.mp4", "deep/er/a.WebM", "deep-er/c.mp4", "notes.txt", "c.jpg"):
        put(tmp_path / name)
    (tmp_path / "deep/loop").symlink_to(tmp_path, target_is_directory=True)
    assert [(row.video, row.source) for row in rows_of(tmp_path)] == [
        ("b", f"{tmp_path}/b.mp4"),
        ("c", f"{tmp_path}/deep-er/c.mp4"),  # as sorted() has it: - comes before /
        ("a", f"{tmp_path}/deep/er/a.WebM"),
    ]


def test_a_folder_and_the_same_files_on_s3_come_in_the_same_order(tmp_path: Path, s3_bucket: str) -> None:
    for name in ("b/1.mp4", "b-/2.mp4", "b.mp4", "B.mp4", "ä.mp4", "b/c/3.mp4"):
        put(tmp_path / "videos" / name)
        storage.upload(tmp_path / "videos" / name, f"{s3_bucket}/videos/{name}")
    here = [row.source.removeprefix(str(tmp_path)) for row in rows_of(tmp_path / "videos")]
    there = [row.source.removeprefix(s3_bucket) for row in rows_of(f"{s3_bucket}/videos")]
    assert here == there
    assert here == sorted(here)


def test_a_file_name_that_is_no_utf8_is_a_wrong_row(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    (tmp_path / os.fsdecode(b"b\xff.mp4")).write_bytes(b"x")
    with pytest.raises(ManifestError, match=r"expected UTF-8 text, found byte 0xff in .*b.{1,2}udcff.mp4"):
        rows_of(tmp_path)
    assert [row.video for row in rows_of(tmp_path, skip_wrong=True)] == ["a"]


def test_paths_in_a_list_are_relative_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(
        tmp_path / "lists/some.txt",
        "\ufeff# a comment\r\n\n  ../videos/a b.mp4  \n/abs/b.mp4\ns3://bucket/c.mp4\nx#1.mp4\n"
        "https://host/d.mp4?key=1\nfile:///abs/-e.mp4\n",
    )
    monkeypatch.chdir(tmp_path)
    rows = rows_of("lists/some.txt")
    assert [row.source for row in rows] == [
        f"{tmp_path}/videos/a b.mp4",
        "/abs/b.mp4",
        "s3://bucket/c.mp4",
        f"{tmp_path}/lists/x#1.mp4",
        "https://host/d.mp4?key=1",
        "/abs/-e.mp4",
    ]
    assert [row.video for row in rows] == ["a-b", "b", "c", "x-1", "d", "-e"]


def test_youtube_ids_and_addresses_in_a_list_are_downloaded(tmp_path: Path) -> None:
    lines = [
        "8TdeRhBNuHI",
        "youtube:-_-TDDxoaAc",
        "https://www.youtube.com/watch?app=desktop&v=XUwm6ncU7Cg&t=3",
        "https://youtu.be/ktllv58Ebb8?si=x",
        "https://www.youtube.com/shorts/tFWi1t_LSUg",
        "youtube8m:nXSc",
        "12345678901",
    ]
    rows = rows_of(put(tmp_path / "all.txt", "\n".join(lines)))
    assert [row.source for row in rows] == [
        "youtube:8TdeRhBNuHI",
        "youtube:-_-TDDxoaAc",
        "youtube:XUwm6ncU7Cg",
        "youtube:ktllv58Ebb8",
        "youtube:tFWi1t_LSUg",
        "youtube8m:nXSc",
        f"{tmp_path}/12345678901",
    ]
    assert [row.video for row in rows][:3] == ["8TdeRhBNuHI", "-_-TDDxoaAc", "XUwm6ncU7Cg"]


def test_sources_on_the_command_line_may_be_videos_and_ids(tmp_path: Path) -> None:
    clip = put(tmp_path / "clip.mp4")
    rows = rows_of(clip, "youtube:8TdeRhBNuHI", "https://host/x.webm", "s3://bucket/y.mkv")
    assert [(row.video, row.source) for row in rows] == [
        ("clip", str(clip)),
        ("8TdeRhBNuHI", "youtube:8TdeRhBNuHI"),
        ("x", "https://host/x.webm"),
        ("y", "s3://bucket/y.mkv"),
    ]


WHOLE = {
    "video": "test_1a",
    "source": "videos/1.mp4",
    "labels": ["violin"],
    "split": "test",
    "start_s": 10,
    "end_s": 12.5,
    "segment_labels": [["violin"], []],
    "boxes": [[0.1, 0.2, 0.3, 0.4]],
    "visible": ["violin", "drum"],
    "group": "test_1",
    "frame_s": 11,
    "segment_heard": [["violin"], ["drum"]],
    "segment_visible": [["violin", "drum"], []],
    "segment_boxes": [[[0.1, 0.2, 0.3, 0.4]], []],
    "extra": {"any": 1},
}


def test_what_a_jsonl_row_knows_is_kept(tmp_path: Path) -> None:
    lines = [json.dumps(WHOLE), json.dumps({"source": "2.mp4", "labels": None, "boxes": []})]
    whole, bare = rows_of(put(tmp_path / "m.jsonl", "\n\n".join(lines)))
    assert whole == VideoRow(
        video="test_1a",
        source=f"{tmp_path}/videos/1.mp4",
        labels=("violin",),
        split="test",
        start_s=10.0,
        end_s=12.5,
        segment_labels=(("violin",), ()),
        boxes=((0.1, 0.2, 0.3, 0.4),),
        visible=("violin", "drum"),
        group="test_1",
        frame_s=11.0,
        segment_heard=(("violin",), ("drum",)),
        segment_visible=(("violin", "drum"), ()),
        segment_boxes=(((0.1, 0.2, 0.3, 0.4),), ()),
    )
    assert bare == VideoRow("2", f"{tmp_path}/2.mp4", boxes=())


def test_a_csv_with_a_header(tmp_path: Path) -> None:
    path = put(
        tmp_path / "m.csv",
        'source, labels,boxes,split,start_s\na.mp4,violin; cello,"[[0,0,1,1]]",train,1e1\n\n,,,,\n'
        '"b,c.mp4","[""a;b""]",,,\n"d\ne.mp4",,,"""  x""",\n',
    )
    first, second, third = rows_of(path)
    assert (first.labels, first.boxes, first.split, first.start_s) == (
        ("violin", "cello"),
        ((0, 0, 1, 1),),
        "train",
        10,
    )
    assert (second.source, second.labels, second.split) == (f"{tmp_path}/b,c.mp4", ("a;b",), None)
    assert (third.source, third.split) == (f"{tmp_path}/d\ne.mp4", "  x")


def test_gzip_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    text = '\ufeff{"source": "a.mp4"}\n'.encode()
    plain, packed = put(tmp_path / "m.jsonl", text), put(tmp_path / "m2.jsonl.gz", gzip.compress(text))
    assert rows_of(plain) == rows_of(packed)
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(text * 1000)[:-20])
    with pytest.raises(ManifestError, match=r"cut.jsonl.gz: expected a gzip file, found something else"):
        rows_of(tmp_path / "cut.jsonl.gz", skip_wrong=True)


EVERYTHING = [
    VideoRow("plain", "/videos/a.mp4"),
    VideoRow(
        "full", "/videos/b.mp4", ("violin", "cello"), "train", 0.1, 1e6 / 3, None, ((0.0, 0.25, 1 / 3, 1.0),), (), "g"
    ),
    VideoRow(
        'odd;id, "x"', "/videos/ spaces and\nlines .mp4", (" a;b", "[c]", ""), ' "', 1.0, None, ((), ("a", "ü")), ()
    ),
    VideoRow("odd 2", "s3://bucket/ü\u2028.mp4", ("[x",), None, None, 2.5, None, None, ("a; b", "c"), " "),
    VideoRow("tube", "youtube:8TdeRhBNuHI", ("bird chirping, tweeting",), "val", 30.0, 40.0),
    VideoRow("web", "https://host/a%20b.mp4?x=1&y=2", ("'",)),
    VideoRow("x", "/videos/c.mp4", ("one",), segment_labels=(("one",), ())),
    VideoRow("x-2", "/videos/c.mp4", ("two",), segment_labels=((), ("two",))),
    VideoRow("told", "/videos/d.mp4", segment_heard=((), ("a",)), segment_visible=(("b",), ())),
    VideoRow("placed", "/videos/e.mp4", segment_boxes=(((0.0, 0.25, 1 / 3, 1.0),), ())),
    VideoRow("still", "/images/f.jpg", sound="/sounds/f, a.wav"),
    VideoRow("still 2", "/images/f.jpg", sound="s3://bucket/f b.wav"),
]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_converted_list_reads_back_the_same(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"deep/er/list{suffix}"
    assert write_list(EVERYTHING, str(out)) == len(EVERYTHING)
    videos = VideoList([str(out)])
    assert list(videos) == EVERYTHING
    assert videos.repeated.count == 0


def test_lists_are_converted_from_s3_to_s3(s3_bucket: str) -> None:
    rows = [VideoRow(f"{number}", f"{s3_bucket}/lists/{number}.mp4") for number in range(3)]
    for suffix in (".jsonl", ".csv", ".parquet"):
        storage.write_text(f"{s3_bucket}/lists/names.txt", "0.mp4\n./1.mp4\nx/../2.mp4\n")
        write_list(VideoList([f"{s3_bucket}/lists/names.txt"]), f"{s3_bucket}/out/list{suffix}")
        assert rows_of(f"{s3_bucket}/out/list{suffix}") == rows


def test_a_list_on_s3_of_many_blocks_is_read_as_it_is_here(s3_bucket: str, tmp_path: Path) -> None:
    lines = (f'{{"source": "/videos/{number}.mp4", "labels": ["{"x" * 200}"]}}\n' for number in range(40_000))
    path = put(tmp_path / "m.jsonl", "".join(lines))
    assert path.stat().st_size > 2 * (4 << 20)
    storage.upload(path, f"{s3_bucket}/m.jsonl")
    storage.write_bytes(f"{s3_bucket}/m.jsonl.gz", gzip.compress(path.read_bytes()))
    here = rows_of(path)
    assert rows_of(f"{s3_bucket}/m.jsonl") == here
    assert rows_of(f"{s3_bucket}/m.jsonl.gz") == here
    storage.write_bytes(f"{s3_bucket}/n.txt", b"a.mp4\n\xff.mp4\n")
    with pytest.raises(ManifestError, match=rf"{s3_bucket}/n.txt:2: expected UTF-8 text"):
        rows_of(f"{s3_bucket}/n.txt")


def test_files_of_the_same_name_get_different_ids(tmp_path: Path) -> None:
    names = ("one/001.mp4", "two/001.mp4", "three/001.webm", "two/001-2.mp4")
    for name in names:
        put(tmp_path / name)
    rows = rows_of(tmp_path)
    ids = [row.video for row in rows]
    assert ids[0] == "001"  # the first keeps the plain name
    assert ids[1].startswith("001-")
    assert len(set(ids)) == len(names)
    assert rows == rows_of(tmp_path)


def test_thousands_of_files_of_the_same_name_get_different_ids(tmp_path: Path) -> None:
    path = put(tmp_path / "m.txt", "".join(f"{number}/video.mp4\n" for number in range(40_000)))
    ids = [row.video for row in rows_of(path)]
    assert len(set(ids)) == 40_000
    assert ids[0] == "video"


def test_what_comes_twice_is_kept_once_and_reported(tmp_path: Path) -> None:
    first = put(
        tmp_path / "m.jsonl",
        '{"source": "a.mp4", "video": "a"}\n{"source": "./a.mp4"}\n\n{"source": "b.mp4", "video": "a"}\n'
        '{"source": "c.mp4", "start_s": 5}\n{"source": "c.mp4", "start_s": 6}\n{"source": "c.mp4", "start_s": 5.0}\n',
    )
    second = put(tmp_path / "n.txt", "c.mp4\n# no\na.mp4\n")
    videos = VideoList([str(first), str(second)])
    rows = list(videos)
    assert [(row.source.rpartition("/")[2], row.start_s) for row in rows] == [
        ("a.mp4", None),
        ("c.mp4", 5.0),
        ("c.mp4", 6.0),
        ("c.mp4", None),
    ]
    assert len({row.video for row in rows}) == len(rows)
    here = f"{tmp_path}/"
    assert videos.repeated.examples == [
        f"{here}m.jsonl:2: {here}a.mp4 is there already ({here}m.jsonl:1)",
        f"{here}m.jsonl:4: a video named 'a' is there already ({here}m.jsonl:1)",
        f"{here}m.jsonl:7: {here}c.mp4 from 5 s to its end is there already ({here}m.jsonl:5)",
        f"{here}n.txt:3: {here}a.mp4 is there already ({here}m.jsonl:1)",
    ]
    assert videos.repeated.count == 4
    assert list(videos) == rows
    assert videos.repeated.count == 4  # counted anew


def test_repeated_rows_are_found_across_batches(tmp_path: Path) -> None:
    lines = [f"{number}.mp4" for number in range(50_000)]
    videos = VideoList([str(put(tmp_path / "m.txt", "\n".join([*lines, *lines[::7]])))])
    assert sum(1 for _ in videos) == 50_000
    assert videos.repeated.count == len(lines[::7])
    assert (
        videos.repeated.examples[1] == f"{tmp_path}/m.txt:50002: {tmp_path}/7.mp4 is there already ({tmp_path}/m.txt:8)"
    )
    assert len(videos.repeated.examples) == 20


def test_the_table_of_digests_finds_what_was_added() -> None:
    generator = np.random.default_rng(0)
    table, truth = DigestTable(), dict[int, int]()
    for _ in range(60):
        wanted = generator.integers(0, 5000, size=int(generator.integers(1, 300))).astype(np.uint64)
        assert table.find(wanted).tolist() == [truth.get(value, -1) for value in wanted.tolist()]
        new = {int(value): (1 << 33) * (value % 2) + len(truth) for value in wanted if int(value) not in truth}
        places = [int(place) for place in new.values()]
        table.add(np.array(list(new), np.uint64), np.array(places, np.int64))
        truth |= dict(zip(new, places, strict=True))
    assert len(table) == len(truth)
    assert len(set(as_numbers(digests_of(b"%d" % number for number in range(10_000))).tolist())) == 10_000


def test_only_rows_of_a_split_are_kept(tmp_path: Path) -> None:
    path = put(tmp_path / "m.csv", "source,split\na.mp4,train\nb.mp4,val\nc.mp4,\n")
    assert [row.video for row in rows_of(path, split="val")] == ["b"]
    with pytest.raises(
        ManifestError, match=r"expected videos of the split test, found train \(1\), val \(1\), no split \(1\)"
    ):
        rows_of(path, split="test")


def test_the_fingerprint_changes_with_what_the_rows_are_made_from(tmp_path: Path) -> None:
    listed, folder = put(tmp_path / "m.txt", "a.mp4\n"), tmp_path / "videos"
    put(folder / "a.mp4")

    def fingerprint(**options: object) -> str:
        return VideoList([str(listed), str(folder)], ListOptions(**options)).fingerprint()

    seen = [fingerprint()]
    assert fingerprint() == seen[0]
    for change in (
        lambda: put(listed, "b.mp4\n"),
        lambda: put(folder / "a.mp4", "longer"),
        lambda: put(folder / "deep/b.mp4"),
        lambda: (folder / "a.mp4").unlink(),
    ):
        change()
        seen.append(fingerprint())
    put(folder / "notes.txt")
    assert fingerprint() == seen[-1]
    seen.append(fingerprint(skip_wrong=True))
    seen.append(VideoList([str(folder), str(listed)]).fingerprint())
    assert len(set(seen)) == len(seen)


def test_a_vocabulary_counts_for_the_fingerprint(tmp_path: Path) -> None:
    listed = put(tmp_path / "MUSIC200k-train.csv", "vid,labels\n8TdeRhBNuHI,3 4\n")
    put(tmp_path / "vocabulary.csv", "Index,Name\n3,Concert\n4,Musician\n")
    before = VideoList([str(listed)]).fingerprint()
    put(tmp_path / "vocabulary.csv", "Index,Name\n3,Concert\n4,Music\n")
    assert VideoList([str(listed)]).fingerprint() != before


def test_a_long_list_is_never_held(tmp_path: Path) -> None:
    count = 50_000
    path = tmp_path / "m.jsonl"
    with path.open("w") as file:
        for number in range(count):
            name = f"{number:011d}"
            file.write(
                f'{{"video": "{name}", "source": "/videos/{name}.mp4", "labels": ["violin"], "split": "train"}}\n'
            )

    def rows() -> Iterator[VideoRow]:
        yield from VideoList([str(path)])

    assert next(rows()).video == "0" * 11  # what is imported late is there before memory is measured
    tracemalloc.start()
    try:
        assert sum(1 for _ in rows()) == count
        streamed = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # a batch of rows, and 24 bytes a row that are twice there while tables are merged; held, rows take 340 bytes each
    assert streamed < 8e6 + 48 * count
