"""The lists of real datasets, as they are published, become rows with their labels, splits and ranges."""

import json
from collections import Counter
from pathlib import Path

import pytest
from written_lists import put, rows_of

from pipeline.errors import ManifestError
from pipeline.prepare.manifests.read import ListOptions, VideoList
from pipeline.prepare.manifests.row import VideoRow

HERE = "/videos/{video}.mp4"


@pytest.fixture(scope="module")
def lists(corpus: Path) -> Path:
    return corpus / "manifests"


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
    ("SSLalignment/vggss_test_plus_silent.csv", "pairs", 5373),
    ("SSLalignment/flickr_test_plus_silent.csv", "pairs", 250),
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


def test_music_is_divided_as_its_public_split_has_it_and_into_eleven_classes(lists: Path) -> None:
    """TriBERT's lists name four fifths and one fifth of solos of 21 instruments and of duets."""
    names = [lists / f"MUSIC/{name}_videos.json" for name in ("MUSIC21_solo", "MUSIC_duet")]
    named = {split: lists / f"TriBERT/music21_{split}.csv" for split in ("train", "val")}
    divided = {"split_lists": tuple(map(str, named.values()))}
    rows = rows_of(*names, **divided)
    for split, path in named.items():
        assert sorted(row.video for row in rows if row.split == split) == sorted(path.read_text().split())
    assert Counter((row.split, len(row.labels)) for row in rows) == {
        ("train", 1): 746,
        ("train", 2): 94,
        ("val", 1): 190,
        ("val", 2): 21,
    }
    eleven = {label for row in rows_of(lists / "MUSIC/MUSIC_solo_videos.json") for label in row.labels}
    few = rows_of(*names, **divided, labels=tuple(sorted(eleven)))
    assert {label for row in few for label in row.labels} == eleven
    assert Counter((row.split, len(row.labels)) for row in few) == {
        ("train", 1): 380,
        ("train", 2): 94,
        ("val", 1): 89,
        ("val", 2): 21,
    }


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
    assert rows["MKC9LvRivTM_000030"].boxes == ((0.396875, 0.6625, 0.396875, 0.6625),)  # it has only such a one
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
