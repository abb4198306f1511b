"""The lists of real datasets, as they are published, become rows with their labels, splits and ranges."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from pipeline.errors import ManifestError
from pipeline.prepare.manifests.read import ListOptions, VideoList
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.manifests.write import write_list

HERE = "/videos/{video}.mp4"


@pytest.fixture(scope="module")
def lists(corpus: Path) -> Path:
    return corpus / "manifests"


def rows_of(path: Path, **options: object) -> list[VideoRow]:
    return list(VideoList([str(path)], ListOptions(**options)))


def put(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


RECOGNISED = [
    ("MUSIC200k/MUSIC200k-train.csv", "music200k", 2000),
    ("MUSIC200k/MUSIC200k-test.csv", "music200k", 2000),
    ("MUSIC/MUSIC_solo_videos.json", "music", 536),
    ("MUSIC/MUSIC_duet_videos.json", "music", 149),
    ("MUSIC/MUSIC21_solo_videos.json", "music", 1164),
    ("AVE/Annotations.txt", "ave", 4143),
    ("VGGSound/test.csv", "vggsound", 2000),
    ("VGGSS/vggss.json", "vggss", 5158),
    ("VGGSS/vggss_test.csv", "vggsound", 5158),
    ("VGGSS/flickr_test.csv", "ids", 249),
    ("AVGN/music_solo.json", "avgn", 2124),
    ("AVGN/music_duet.json", "avgn", 1020),
    ("AVGN/music_solo_test.csv", "ids", 2124),
    ("AVGN/music_duet_test.csv", "ids", 1020),
    ("AVGN/vgginstruments_test.csv", "ids", 446),
    ("AVGN/vggsound_single_test.csv", "vggsound", 5158),
    ("TriBERT/music21_train.csv", "list", 840),
    ("TriBERT/music21_val.csv", "list", 211),
    ("SoP/train_dummy.csv", "sop", 2),
    ("excerpts/audioset_eval_segments_excerpt.csv", "audioset", 5),
    ("excerpts/kinetics_excerpt.csv", "kinetics", 3),
]


@pytest.mark.parametrize(("name", "form", "count"), RECOGNISED)
def test_published_lists_are_recognised_and_read_whole(lists: Path, name: str, form: str, count: int) -> None:
    videos = VideoList([str(lists / name)], ListOptions(source=HERE))
    rows = list(videos)
    assert videos.formats == [(str(lists / name), form)]
    assert (len(rows), videos.repeated.count, videos.wrong.count) == (count, 0, 0)
    assert len({row.video for row in rows}) == count
    assert rows == rows_of(lists / name, source=HERE, format=form)


@pytest.mark.parametrize(
    "name",
    [
        "AVGN/vggsound_duet_test.csv",  # mixtures of two
        "AVGN/vgginstruments_multi_test.csv",
        "SSLalignment/vggss_test_plus_silent.csv",  # the picture of one video with the sound of another
        "SSLalignment/flickr_test_plus_silent.csv",
        "VGGSound/stat.csv",
        "VGGSound/LICENCE.txt",
        "MUSIC200k/vocabulary.csv",
    ],
)
def test_what_is_no_list_of_videos_is_not_taken_for_one(lists: Path, name: str) -> None:
    with pytest.raises(ManifestError, match="expected a list in a known format .* found first line"):
        rows_of(lists / name)


def test_music200k_has_names_for_its_labels_and_its_split_from_its_name(lists: Path) -> None:
    rows = rows_of(lists / "MUSIC200k/MUSIC200k-train.csv")
    assert rows[0] == VideoRow(
        video="8TdeRhBNuHI",
        source="youtube:8TdeRhBNuHI",
        labels=("Concert", "Musician", "Guitar", "Electric guitar", "Harry Potter"),
        split="train",
    )
    assert {row.split for row in rows_of(lists / "MUSIC200k/MUSIC200k-test.csv")} == {"test"}
    names = Counter(name for row in rows for name in row.labels)
    assert names["Musician"] == 2000
    same = [row.labels for row in rows if row.labels == ("Concert", "Musician")]
    assert len(same) > 1
    assert all(labels is same[0] for labels in same)  # held once


def test_music_has_its_instruments(lists: Path) -> None:
    solo = rows_of(lists / "MUSIC/MUSIC_solo_videos.json")
    assert solo[0] == VideoRow("jW_AuF6dQYY", "youtube:jW_AuF6dQYY", ("flute",))
    assert len({row.labels for row in solo}) == 11
    assert len({row.labels for row in rows_of(lists / "MUSIC/MUSIC21_solo_videos.json")}) == 21
    duets = rows_of(lists / "MUSIC/MUSIC_duet_videos.json")
    assert duets[0] == VideoRow("8DHG_hVSw1o", "youtube:8DHG_hVSw1o", ("flute", "violin"))
    assert {len(row.labels) for row in duets} == {2}


def test_lists_of_music_together_report_what_they_share(lists: Path) -> None:
    names = ("MUSIC/MUSIC_solo_videos.json", "MUSIC/MUSIC21_solo_videos.json")
    solo, more = ({row.video for row in rows_of(lists / name)} for name in names)
    videos = VideoList([str(lists / name) for name in names])
    assert {row.video for row in videos} == solo | more
    assert videos.repeated.count == len(solo & more) > 0
    place, _, rest = videos.repeated.examples[0].partition(": ")
    path, _, line = place.rpartition(":")
    video = rest.split()[0].removeprefix("youtube:")
    assert video in Path(path).read_text().splitlines()[int(line) - 1]


def test_ave_has_its_splits_and_events(lists: Path) -> None:
    rows = rows_of(lists / "AVE/Annotations.txt", source="/videos/AVE/{youtube}.mp4")
    assert Counter(row.split for row in rows) == {"train": 3339, "val": 402, "test": 402}
    bell: tuple[str, ...] = ("Church bell",)
    assert rows[1] == VideoRow(
        video="MH3m4AwEcRY",
        source="/videos/AVE/MH3m4AwEcRY.mp4",
        labels=bell,
        split="train",
        segment_labels=((),) * 6 + (bell,) * 2 + ((),) * 2,
    )
    assert len({row.labels for row in rows}) == 28
    assert rows[26].segment_labels == ((),) * 10  # from 0 to 0 s: it never sounds
    twice = [row for row in rows if row.source.endswith("/-ccciEuH9FE.mp4")]
    assert [(row.video, row.labels) for row in twice] == [
        ("-ccciEuH9FE", ("Male speech, man speaking",)),
        ("-ccciEuH9FE-2", ("Female speech, woman speaking",)),
    ]
    assert len({row.source for row in rows}) == 4097


def test_ave_does_not_say_where_its_ten_seconds_are_on_youtube(lists: Path) -> None:
    with pytest.raises(ManifestError, match=r"Annotations.txt:1: expected --source .*, found none, and 'RUhOCu3LNXM'"):
        rows_of(lists / "AVE/Annotations.txt")
    looked_at = rows_of(lists / "AVE/Annotations.txt", need_places=False)
    assert looked_at[0].source == "unknown:RUhOCu3LNXM"


def test_ave_with_its_header_counts_rows_behind_it(lists: Path, tmp_path: Path) -> None:
    text = (lists / "AVE/Annotations.txt").read_text()
    put(tmp_path / "Annotations.txt", "Category&VideoID&Quality&StartTime&EndTime\n" + text)
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}_order.h5").symlink_to(lists / f"AVE/{split}_order.h5")
    assert rows_of(tmp_path / "Annotations.txt", source=HERE) == rows_of(lists / "AVE/Annotations.txt", source=HERE)
    (tmp_path / "val_order.h5").unlink()
    (tmp_path / "val_order.h5").symlink_to(lists / "AVE/test_order.h5")
    with pytest.raises(
        ManifestError, match=r"test_order.h5: expected rows of one split only, found row \d+ that is in val"
    ):
        rows_of(tmp_path / "Annotations.txt", source=HERE)
    (tmp_path / "val_order.h5").unlink()
    put(tmp_path / "val_order.h5", "no")
    with pytest.raises(
        ManifestError, match=r"val_order.h5: expected an HDF5 file with row numbers named order, found "
    ):
        rows_of(tmp_path / "Annotations.txt", source=HERE)


def test_vggsound_in_all_its_forms_is_the_same(lists: Path, tmp_path: Path) -> None:
    row = VideoRow(
        "glLQrEijrKg_000300", "youtube:glLQrEijrKg", ("playing hammond organ",), "test", start_s=300.0, end_s=310.0
    )
    assert rows_of(lists / "VGGSound/test.csv")[0] == row
    official = put(tmp_path / "vggsound.csv", 'glLQrEijrKg,300,"playing hammond organ",test\n')
    assert rows_of(official) == [row]
    named = put(tmp_path / "test.csv", "glLQrEijrKg_000300,playing hammond organ\r\n")
    assert rows_of(named) == [row]


def test_a_quoted_label_with_a_comma_is_one_label(tmp_path: Path) -> None:
    path = put(tmp_path / "vggsound.csv", '---g-f_I2yQ,1,"bird chirping, tweeting",train\n')
    assert rows_of(path)[0].labels == ("bird chirping, tweeting",)


@pytest.mark.parametrize(
    ("template", "source", "whole"),
    [
        ("/d/{youtube}.mp4", "/d/glLQrEijrKg.mp4", False),
        ("/d/{youtube}_{start:06d}.mp4", "/d/glLQrEijrKg_000300.mp4", True),
        ("/d/{youtube}_{start}_{end}.mp4", "/d/glLQrEijrKg_300_310.mp4", True),
        ("/d/{video}.mp4", "/d/glLQrEijrKg_000300.mp4", True),
        ("s3://b/{split}/{label}/{youtube}.webm", "s3://b/test/playing hammond organ/glLQrEijrKg.webm", False),
        ("file:///d/../e/{youtube}", "/e/glLQrEijrKg", False),
    ],
)
def test_a_template_says_where_files_are_and_whether_they_are_cut(
    lists: Path, template: str, source: str, whole: bool
) -> None:
    row = rows_of(lists / "VGGSound/test.csv", source=template)[0]
    assert (row.video, row.source) == ("glLQrEijrKg_000300", source)
    assert (row.start_s, row.end_s) == ((None, None) if whole else (300.0, 310.0))


def test_a_template_that_asks_for_what_a_row_lacks_names_the_row(lists: Path) -> None:
    with pytest.raises(
        ManifestError, match=r"solo_videos.json:5: expected a split for {split} in --source, found none"
    ):
        rows_of(lists / "MUSIC/MUSIC_solo_videos.json", source="/d/{split}/{video}.mp4")
    with pytest.raises(ManifestError, match=r"flickr_test.csv:1: expected a youtube for {youtube} in --source"):
        rows_of(lists / "VGGSS/flickr_test.csv", source="/d/{youtube}.mp4")


def test_gavts_own_csv_may_leave_the_places_to_a_template(tmp_path: Path) -> None:
    path = put(tmp_path / "m.csv", "video,labels,start_s,end_s\na,violin,3,5\n")
    assert rows_of(path, source=HERE) == [VideoRow("a", "/videos/a.mp4", ("violin",), None, 3.0, 5.0)]


def test_audioset_has_ranges_and_many_labels(lists: Path, tmp_path: Path) -> None:
    row = VideoRow(
        video="--4gqARaEJE_000000",
        source="youtube:--4gqARaEJE",
        labels=("/m/068hy", "/m/07q6cd_", "/m/0bt9lr", "/m/0jbk"),
        split="eval",
        start_s=0.0,
        end_s=10.0,
    )
    excerpt = rows_of(lists / "excerpts/audioset_eval_segments_excerpt.csv")
    assert excerpt[0] == row
    assert (excerpt[3].end_s, excerpt[4].start_s) == (9.0, 30.0)
    spaced = '--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_,/m/0bt9lr,/m/0jbk"\n'
    head = "# Segments csv created Sun Mar  5 10:54:25 2017\n# num_ytids=1, num_segs=1\n"
    header = "# YTID, start_seconds, end_seconds, positive_labels\n"
    for text in (spaced, header + spaced, head + header + spaced):
        assert rows_of(put(tmp_path / "eval_segments.csv", text)) == [row]
    names = 'index,mid,display_name\n0,/m/068hy,"Domestic animals, pets"\n1,/m/0jbk,Animal\n'
    put(tmp_path / "class_labels_indices.csv", names)
    (named,) = rows_of(tmp_path / "eval_segments.csv")
    assert named.labels == ("Domestic animals, pets", "/m/07q6cd_", "/m/0bt9lr", "Animal")


def test_two_ranges_of_a_video_are_two_rows(tmp_path: Path) -> None:
    text = "8TdeRhBNuHI,%s,%s,/m/068hy\n"
    ranges = [("0.000", "10.000"), ("0.500", "10.500"), ("30", "40"), ("0", "10")]
    videos = VideoList([str(put(tmp_path / "train.csv", "".join(text % pair for pair in ranges)))])
    assert [(row.video, row.start_s) for row in videos] == [
        ("8TdeRhBNuHI_000000", 0.0),
        ("8TdeRhBNuHI_000000-2", 0.5),
        ("8TdeRhBNuHI_000030", 30.0),
    ]
    assert videos.repeated.examples == [
        f"{tmp_path}/train.csv:4: youtube:8TdeRhBNuHI from 0 s to 10 s is there already ({tmp_path}/train.csv:1)"
    ]


def test_kinetics_has_classes_and_ranges(lists: Path, tmp_path: Path) -> None:
    row = VideoRow("---QUuC4vJs_000084", "youtube:---QUuC4vJs", ("testifying",), "validate", 84.0, 94.0)
    assert rows_of(lists / "excerpts/kinetics_excerpt.csv")[0] == row
    bare = put(tmp_path / "test.csv", "youtube_id,time_start,time_end,split\n---QUuC4vJs,84,94,test\n")
    assert rows_of(bare) == [VideoRow("---QUuC4vJs_000084", "youtube:---QUuC4vJs", (), "test", 84.0, 94.0)]
    template = "/k/{split}/{label}/{youtube}_{start:06d}_{end:06d}.mp4"
    (cut, *_) = rows_of(lists / "excerpts/kinetics_excerpt.csv", source=template)
    assert cut.source == "/k/validate/testifying/---QUuC4vJs_000084_000094.mp4"
    assert (cut.start_s, cut.end_s) == (None, None)


def test_youtube8m_ids_are_looked_up_later(tmp_path: Path) -> None:
    ids = put(tmp_path / "ids.txt", "nXSc\naB-_\n0000\n")
    assert VideoList([str(ids)]).formats[0][1] == "youtube8m"
    assert [(row.video, row.source) for row in rows_of(ids)][:2] == [
        ("nXSc", "youtube8m:nXSc"),
        ("aB-_", "youtube8m:aB-_"),
    ]
    put(tmp_path / "vocabulary.csv", "Index,Name\n3,Concert\n4,Musician\n")
    labelled = put(tmp_path / "train.csv", "id,labels\nnXSc,3 4\naB-_,\n")
    assert [(row.labels, row.split) for row in rows_of(labelled)] == [(("Concert", "Musician"), "train"), ((), "train")]


def test_vggss_has_boxes_as_the_official_evaluation_draws_them(lists: Path) -> None:
    rows = {row.video: row for row in rows_of(lists / "VGGSS/vggss.json")}
    first = rows["zpWuikVorYg_000032"]
    assert (first.labels, first.start_s, first.end_s) == (("elk bugling",), 32.0, 42.0)
    assert first.boxes == ((0.403125, 0.253125, 0.6, 0.75),)
    assert rows["Db6Hjt0x28k_000056"].boxes == ((0.05, 0.35625, 0.753125, 0.98125),)  # the other has a corner at -3e16
    corners = [corner for row in rows.values() for box in row.boxes or () for corner in box]
    assert 0 <= min(corners) < max(corners) <= 1


def test_avgns_boxes_become_corners(lists: Path) -> None:
    duet = rows_of(lists / "AVGN/music_duet.json", source=HERE)[0]
    assert (duet.labels, duet.source) == (("cello", "acoustic_guitar"), "/videos/HnUOaSfTA6c_000_00000.mp4")
    raw = json.loads((lists / "AVGN/music_duet.json").read_text())[0]
    x, y, width, height = raw["bbox_src1"]
    assert duet.boxes is not None
    assert duet.boxes[0] == pytest.approx((x, y, x + width, y + height))
    assert rows_of(lists / "AVGN/music_solo.json", source=HERE)[0].labels == ("cello",)


def test_other_lists_have_what_they_say(lists: Path) -> None:
    assert rows_of(lists / "TriBERT/music21_val.csv")[0] == VideoRow("PlKCXvBDxaI", "youtube:PlKCXvBDxaI", (), "val")
    sop = rows_of(lists / "SoP/train_dummy.csv")
    assert sop[0] == VideoRow("M3dekVSwNjY", "youtube:M3dekVSwNjY", ("acoustic_guitar",), "train")
    flickr = rows_of(lists / "VGGSS/flickr_test.csv", source="/flickr/{video}.mp4")
    assert flickr[0] == VideoRow("10000130166", "/flickr/10000130166.mp4", (), "test")
    assert rows_of(lists / "AVGN/vgginstruments_test.csv", source=HERE)[0].labels == ("accordion",)


ID = "8TdeRhBNuHI"
WRONG = [
    (
        "music200k",
        f"vid,labels\n{ID},3 4\n8TdeRhBNuH,3\n",
        ":3: expected a YouTube id (11 letters, digits, _ or -), found",
    ),
    (
        "music200k",
        "vid,labels\n8Tde hBNuHI,3\n",
        ":2: expected a YouTube id (11 letters, digits, _ or -), found '8Tde hB",
    ),
    ("music200k", f"vid,labels\n{ID},3 99\n", ":2: labels: expected indices of vocabulary.csv, found '99'"),
    ("music200k", f"vid,labels\n{ID}\n", ":2: expected 2 cells (vid,labels), found 1"),
    ("music", '{"videos": {"flute": ["x"]}}', ":1: expected a YouTube id (11 letters, digits, _ or -), found 'x'"),
    ("music", '{"videos":\n {"flute":\n [3]}}', ":2: videos.flute: expected YouTube ids, found 3"),
    ("music", '{"videos": {"flute": "x"}}', ":1: videos.flute: expected a list of YouTube ids, found 'x'"),
    ("music", '{"videos": []}', "expected {'videos': {'flute': […], …}}, found {'videos': []}"),
    ("music", '{"videos":\n', ":2: expected JSON, found something else (Expecting value)"),
    ("audioset", f"{ID},0,10\n", ":1: expected 4 cells (YTID, start_seconds, end_seconds, positive_labels), found 3"),
    ("audioset", f"{ID},0,x,/m/068hy\n", ":1: end_seconds: expected a number, found 'x'"),
    ("audioset", f"{ID},nan,1,/m/068hy\n", ":1: start_seconds: expected a number, found 'nan'"),
    ("audioset", f"{ID},10,10,/m/068hy\n", ":1: end_seconds: expected a time after start_seconds (10 s), found 10"),
    (
        "audioset",
        f'{ID},0,10,"/m/068hy\n',
        ":1: expected CSV with a row a line, found a quote that does not close: '8Td",
    ),
    ("vggsound", f"{ID},-1,barking,test\n", ":1: start: expected 0 s or later, found -1"),
    (
        "vggsound",
        f"{ID},barking,test\n",
        ":1: expected 4 cells (id, start, label, split), or 1 or 2 (id_start, label), found",
    ),
    ("vggsound", f"{ID}_00030.mp4,barking\n", ":1: expected a name such as glLQrEijrKg_000300.mp4, found '8Td"),
    ("vggsound", f'{ID},1,"barking" loud,test\n', ":1: expected CSV, found something else ("),
    ("ave", f"Bell&{ID}&good&0\n", ":1: expected 5 values (Category&VideoID&Quality&StartTime&EndTime), found 4"),
    ("ave", f"Bell&{ID}&good&5&4\n", ":1: EndTime: expected no time before StartTime (5), found 4"),
    ("ave", f"Bell&{ID}&good&0&11\n", ":1: EndTime: expected whole seconds from 0 to 10, found '11'"),
    ("ave", f"Bell&{ID}&good&0.5&1\n", ":1: StartTime: expected whole seconds from 0 to 10, found '0.5'"),
    (
        "kinetics",
        f"label,youtube_id,time_start\na,{ID},1\n",
        ":1: expected columns youtube_id, time_start, time_end, found",
    ),
    ("kinetics", f"youtube_id,time_start,time_end\n{ID},1\n", ":2: expected 3 cells as in the header, found 2"),
    ("kinetics", f"youtube_id,time_start,time_end\n{ID},4,\n", ":2: time_end: expected a number, found ''"),
    ("youtube8m", "nXSc\nnXS\n", ":2: expected an id of YouTube-8M (4 letters, digits, _ or -), found 'nXS'"),
    ("youtube8m", "nXSc,7\n", ":1: labels: expected indices of vocabulary.csv, found '7'"),
    (
        "vggss",
        '[{"file": "x", "class": "a", "bbox": []}]',
        ": entry 1: file: expected a name such as zpWuikVorYg_000032,",
    ),
    ("vggss", f'[{{"file": "{ID}_000001", "class": 3}}]', ": entry 1: class: expected text, found 3"),
    (
        "vggss",
        f'[{{"file": "{ID}_000001", "class": "a", "bbox": [[0, 0, 1]]}}]',
        ": entry 1: bbox.0: expected four numbers",
    ),
    ("vggss", "[3]", ": entry 1: expected an object, found 3"),
    ("vggss", "3", ": expected a list of objects, found 3"),
    (
        "avgn",
        '[{"file": "x", "class": "a", "bbox": [0.5, 0.5, 0.6, 0.1]}]',
        ": entry 1: bbox: expected [x, y, width, height]",
    ),
    ("sop", "a/b.mp3,c/d.mp4,3\n", ":1: expected a YouTube id (11 letters, digits, _ or -), found 'd'"),
    ("ids", "a b,c\n", ":1: expected an id (letters, digits, _ or -), found 'a b'"),
    ("ids", "a,b,c\n", ":1: expected an id and perhaps a label, found 3 cells"),
]


@pytest.mark.parametrize(("form", "content", "sentence"), WRONG)
def test_a_wrong_row_is_named_with_file_and_line(tmp_path: Path, form: str, content: str, sentence: str) -> None:
    put(tmp_path / "vocabulary.csv", "Index,Name\n3,Concert\n4,Musician\n")
    path = put(tmp_path / "list.csv", content)
    with pytest.raises(ManifestError) as caught:
        rows_of(path, format=form, source=HERE)
    assert f"{path}{sentence if sentence[0] == ':' else f': {sentence}'}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["violin,a.mp4\n", "a.mp4,violin\n", "a.mp4,b.mp4\n"])
def test_a_csv_of_nobodys_form_is_not_guessed_at(tmp_path: Path, text: str) -> None:
    with pytest.raises(ManifestError, match="expected a list in a known format"):
        rows_of(put(tmp_path / "m.csv", text))


SEEDS = {
    "music200k": f"vid,labels\n{ID},3 4\nXUwm6ncU7Cg,3\n",
    "music": json.dumps(
        {"version": 1.0, "videos": {"flute": [ID, "XUwm6ncU7Cg"], "flute violin": ["8DHG_hVSw1o"]}}, indent=1
    ),
    "audioset": f'# YTID, start_seconds, end_seconds, positive_labels\n{ID}, 0.000, 10.000, "/m/068hy,/t/dd00004"\n'
    * 2,
    "vggsound": f'{ID},1,"barking, howling",test\n{ID}_000300.mp4,barking\n',
    "ave": f"Category&VideoID&Quality&StartTime&EndTime\nBell&{ID}&good&0&10\nBell&XUwm6ncU7Cg&good&6&8\n",
    "kinetics": f"label,youtube_id,time_start,time_end,split\na,{ID},84,94,validate\nb,{ID},0,10,validate\n",
    "youtube8m": "nXSc,3 4\nabcd\n",
    "vggss": json.dumps([{"file": f"{ID}_000032", "class": "elk", "bbox": [[0.4, 0.2, 0.6, 0.7]]}] * 2),
    "avgn": json.dumps([{"file": "a", "class": "cello", "bbox": [0.3, 0.1, 0.2, 0.8]}] * 2),
    "sop": "./audio/a/M3dekVSwNjY.mp3,./frames/a/M3dekVSwNjY.mp4,1580\n",
    "ids": "sample0000,accordion\n10000130166,202\n",
    "list": f"{ID}\na/b.mp4\nhttps://youtu.be/XUwm6ncU7Cg\n",
    "csv": 'source,video,labels,start_s,boxes\na.mp4,a,x;y,1,"[[0,0,1,1]]"\nb.mp4,b,"[""q""]",,\n',
    "jsonl": '{"video":"a","source":"x","start_s":1,"boxes":[[0,0,1,1]],"segment_labels":[["a"],[]]}\n{"source":"y"}',
}
PIECES = [
    *(b'"', b"\n", b"\r", b"\0", b"\xff", b",", b"&", b"[", b"{", b"null", b"NaN", b"1e999", b"-1", b"\xed\xa0\x80"),
    *(b"\xef\xbb\xbf", b"\\ud800", b" ", b"\t", b"#", b"..", b"/", b"true", b"9" * 23, b"{}", b'""', b":", b"s3://"),
]


@pytest.mark.parametrize("form", SEEDS)
def test_whatever_a_list_holds_it_is_rows_or_one_sentence(tmp_path: Path, form: str) -> None:
    put(tmp_path / "vocabulary.csv", "Index,Name\n3,Concert\n4,Musician\n")
    draw = random.Random(form)
    for _ in range(40):
        content = bytearray(SEEDS[form].encode())
        for _ in range(draw.randint(1, 5)):
            place = draw.randrange(len(content))
            cut = draw.choice((0, 0, 1, 8))
            content[place : place + cut] = draw.choice(PIECES)
        path = tmp_path / "list.csv"
        path.write_bytes(content)
        videos = VideoList([str(path)], ListOptions(form, HERE if form not in ("list", "jsonl") else None, None, True))
        sentences: list[str] = []
        try:
            rows = list(videos)
        except ManifestError as error:
            sentences, rows = [str(error)], []
        assert len({row.video for row in rows}) == len(rows)
        assert not any("\n" in sentence for sentence in [*sentences, *videos.wrong.examples])
        for suffix in (".jsonl", ".csv", ".parquet") if rows else ():
            write_list(rows, str(tmp_path / f"out{suffix}"))
            assert rows_of(tmp_path / f"out{suffix}") == rows


def test_a_music200k_list_needs_its_vocabulary(tmp_path: Path) -> None:
    path = put(tmp_path / "MUSIC200k-train.csv", f"vid,labels\n{ID},3 4\n")
    with pytest.raises(
        ManifestError, match=r"expected vocabulary.csv beside it with the names of its labels, found none"
    ):
        rows_of(path)
    put(tmp_path / "vocabulary.csv", "Nr,Name\n3,Concert\n")
    with pytest.raises(
        ManifestError, match=r"vocabulary.csv:1: expected columns Index and Name, found \['Nr', 'Name'\]"
    ):
        rows_of(path)


def test_a_broken_quote_costs_its_own_row_only(tmp_path: Path) -> None:
    lines = [f'8TdeRhBNu{number:02d},0,10,"/m/068hy"\n' for number in range(100)]
    lines[10] = '8TdeRhBNu10,0,10,"/m/068hy\n'
    videos = VideoList([str(put(tmp_path / "eval.csv", "".join(lines)))], ListOptions(skip_wrong=True))
    assert sum(1 for _ in videos) == 99
    assert videos.wrong.count == 1
    assert videos.wrong.examples[0].startswith(f"{tmp_path}/eval.csv:11: expected CSV with a row a line, found a quote")
