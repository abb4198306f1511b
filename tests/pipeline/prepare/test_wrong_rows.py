"""A wrong row of a published list is named with file and line; whatever a list holds, it is rows or one sentence."""

import json
import random
from pathlib import Path

import pytest
from written_lists import put, rows_of

from pipeline.errors import ManifestError
from pipeline.prepare.manifests.read import ListOptions, VideoList
from pipeline.prepare.manifests.write import write_list

HERE = "/videos/{video}.mp4"
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
    "ucf101": "Archery/v_Archery_g01_c02.avi 3\nBand/v_Band_g08_c01.avi\n",
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
