"""gavt manifest: what is in lists, gavt's own form of them, and what is wrong with them."""

import json
from pathlib import Path

import pytest
from written_lists import put

from cluster import storage
from jobs import cli
from unprivileged import read_only


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = 0
    try:
        cli.main(["manifest", *map(str, words)])
    except SystemExit as ended:
        code = int(ended.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def vggsound(tmp_path: Path) -> Path:
    rows = ["8TdeRhBNuHI,0,barking,train", "8TdeRhBNuHI,30,[bold]singing[/bold],test", "XUwm6ncU7Cg,30,barking,test"]
    return put(tmp_path / "vggsound.csv", "\n".join(rows))


def test_info_counts_rows_splits_labels_and_ranges(capsys, vggsound: Path) -> None:
    code, out, _ = run(capsys, "info", vggsound, "--json")
    assert code == 0
    assert json.loads(out.splitlines()[-1]) == {
        "lists": [{"source": str(vggsound), "format": "vggsound"}],
        "rows": 3,
        "wrong": 0,
        "repeated": 0,
        "kinds": {"youtube": 3},
        "split_share": None,
        "splits": {"test": 2, "train": 1},
        "ranges": 3,
        "range_s": 30.0,
        "shortest_s": 10.0,
        "longest_s": 10.0,
        "boxes": 0,
        "segments": 0,
        "labels": 2,
        "commonest_labels": {"barking": 2, "[bold]singing[/bold]": 1},
    }
    _, out, _ = run(capsys, "info", vggsound, "--split", "test", "--source", "s3://bucket/{youtube}.mp4")
    table = [line.split() for line in out.splitlines()]
    assert ["rows", "2"] in table
    assert ["videos", "s3://bucket", "2"] in table
    assert ["label", "[bold]singing[/bold]", "1"] in table


def test_info_looks_at_lists_whose_videos_nobody_can_place(capsys, corpus: Path) -> None:
    code, out, _ = run(capsys, "info", corpus / "manifests/AVE/Annotations.txt", "--json")
    result = json.loads(out.splitlines()[-1])
    assert code == 0
    assert (result["rows"], result["kinds"], result["segments"]) == (4143, {"unknown": 4143}, 4143)
    assert result["splits"] == {"train": 3339, "val": 402, "test": 402}
    assert (result["labels"], len(result["commonest_labels"])) == (28, 20)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_converted_list_says_the_same(capsys, corpus: Path, tmp_path: Path, suffix: str) -> None:
    from pipeline.prepare.manifests.read import ListOptions, VideoList

    lists, source = corpus / "manifests", "/videos/{youtube}.mp4"
    names = [str(lists / name) for name in ("AVE/Annotations.txt", "VGGSS/vggss.json", "MUSIC200k/MUSIC200k-train.csv")]
    out = tmp_path / f"all.{suffix}"
    code, printed, _ = run(capsys, "convert", *names, "--source", source, "--out", out, "--json")
    assert code == 0
    videos = VideoList(names, ListOptions(source=source))
    rows = list(videos)
    assert videos.repeated.count == 1  # a video of AVE is in MUSIC-200k too
    said = {"out": str(out), "rows": len(rows), "repeated": 1, "wrong": 0, "apart": 0}
    assert json.loads(printed.splitlines()[-1]) == said
    assert list(VideoList([str(out)])) == rows


def test_nothing_is_written_where_a_row_is_wrong(capsys, tmp_path: Path) -> None:
    wrong = put(tmp_path / "m.jsonl", '{"source": "a.mp4"}\n{"source": 3}\n')
    out = put(tmp_path / "out.csv", "as it was")
    code, _, err = run(capsys, "convert", wrong, "--out", out)
    assert (code, err) == (2, f"gavt: {wrong}:2: source: expected a string, found 3\n")
    assert out.read_text() == "as it was"
    code, printed, _ = run(capsys, "convert", wrong, "--out", out, "--skip-wrong")
    assert code == 0
    assert "left out: 1 wrong rows, such as" in " ".join(printed.split())
    assert len(out.read_text().splitlines()) == 2
    code, _, err = run(capsys, "convert", wrong, "--out", tmp_path / "out.xlsx", "--skip-wrong")
    assert code == 2
    assert "expected a name that ends with .jsonl, .csv, .parquet, found .xlsx" in err


def test_check_names_every_wrong_and_repeated_row(capsys, tmp_path: Path) -> None:
    lines = [
        f'{{"source": "{number % 50}.mp4"}}' if number % 2 else f'{{"sauce": "{number}"}}' for number in range(100)
    ]
    path = put(tmp_path / "m.jsonl", "\n".join(lines))
    code, out, err = run(capsys, "check", path)
    assert code == 2
    assert err == f"gavt: {path}: expected a list without fault, found 25 rows, 50 wrong, 25 repeated\n"
    assert sum(line.startswith(f"wrong: {path}:") for line in out.splitlines()) == 50
    repeated = [line for line in out.splitlines() if line.startswith("repeated: ")]
    assert len(repeated) == 25
    assert repeated[0] == f"repeated: {path}:52: {tmp_path}/1.mp4 is there already ({path}:2)"
    code, out, _ = run(capsys, "check", put(tmp_path / "n.jsonl", "{}\n{}\n"), "--json")
    result = json.loads(out.splitlines()[-1])
    assert (code, result["rows"], result["wrong"], len(result["examples"]["wrong"])) == (2, 0, 2, 2)
    code, out, err = run(capsys, "check", put(tmp_path / "o.txt", "a.mp4\na.mp4\n"))
    assert (code, err) == (0, "")  # what comes twice is kept once and does no harm
    assert out.splitlines()[-1].endswith("o.txt: 1 rows, 0 wrong, 1 repeated")


def test_check_asks_for_files_here_and_on_s3(capsys, tmp_path: Path, s3_bucket: str) -> None:
    put(tmp_path / "a.mp4", "x")
    storage.write_text(f"{s3_bucket}/b.mp4", "x")
    sources = ["a.mp4", "gone.mp4", f"{s3_bucket}/b.mp4", f"{s3_bucket}/gone.mp4", "youtube:8TdeRhBNuHI"]
    path = put(tmp_path / "m.txt", "\n".join(sources))
    code, out, err = run(capsys, "check", path, "--files")
    assert code == 2
    missing = [line for line in out.splitlines() if line.startswith("missing: ")]
    assert missing == [
        f"missing: {tmp_path}/gone.mp4 (video gone)",
        f"missing: {s3_bucket}/gone.mp4 (video gone-{missing[1][-9:-1]})",
    ]
    assert "found 5 rows, 0 wrong, 0 repeated, 2 files missing" in err
    code, _, _ = run(capsys, "check", path)
    assert code == 0


def test_check_of_files_where_no_row_has_one_to_look_for_is_no_success(capsys, tmp_path: Path) -> None:
    path = put(tmp_path / "m.txt", "youtube:8TdeRhBNuHI")
    assert run(capsys, "check", path)[0] == 0
    code, _, err = run(capsys, "check", path, "--files")
    assert (code, err) == (2, f"gavt: {path}: --files expects files here or on object storage, found none in 1 rows\n")


def test_check_of_a_list_without_rows_is_no_success(capsys, tmp_path: Path) -> None:
    code, _, err = run(capsys, "check", put(tmp_path / "m.txt", ""))
    assert code == 2
    assert err.startswith(f"gavt: {tmp_path}/m.txt: ")


def test_a_place_where_no_list_can_be_written_is_said_before_lists_are_read(capsys, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    path = put(tmp_path / "m.jsonl", '{"source": "a.mp4"}\n{}\n')
    with read_only(tmp_path / "kept"):
        code, out, err = run(capsys, "convert", path, "--out", tmp_path / "kept/o.csv")
    assert (code, out) == (2, "")
    assert err.startswith(f"gavt: {tmp_path}/kept: not allowed to write to it")


def test_a_list_that_can_not_be_read_at_all_is_one_sentence(capsys, tmp_path: Path) -> None:
    for words in (("info",), ("check",), ("convert", "--out", tmp_path / "o.csv")):
        code, _, err = run(capsys, words[0], tmp_path / "gone.csv", *words[1:])
        assert (code, err) == (2, f"gavt: {tmp_path}/gone.csv: no such file or folder\n")


def test_check_asks_for_keypoints_too(capsys, tmp_path: Path, s3_bucket: str) -> None:
    for name in "abcd":
        put(tmp_path / f"{name}.mp4")
    put(tmp_path / "pose/a.json")
    put(tmp_path / "pose/b/b_000000000001_keypoints.json")
    (tmp_path / "pose/d").mkdir()
    path = put(tmp_path / "m.txt", "a.mp4\nb.mp4\nc.mp4\nd.mp4")
    code, out, err = run(capsys, "check", path, "--files", "--keypoints", tmp_path / "pose")
    assert code == 2
    missing = [line for line in out.splitlines() if line.startswith("missing: ")]
    assert missing == [f"missing: {tmp_path}/pose/{name} (video {name})" for name in "cd"]
    assert "found 4 rows, 0 wrong, 0 repeated, 2 files missing" in err
    storage.write_text(f"{s3_bucket}/a.json", "x")
    storage.write_text(f"{s3_bucket}/b/alphapose-results.json", "x")
    code, out, _ = run(capsys, "check", path, "--files", "--keypoints", s3_bucket)
    missing = [line for line in out.splitlines() if line.startswith("missing: ")]
    assert missing == [f"missing: {s3_bucket}/{name} (video {name})" for name in "cd"]
    listed = tmp_path / "own.csv"
    assert run(capsys, "convert", path, "--out", listed, "--keypoints", tmp_path / "pose")[0] == 0
    assert f"{tmp_path}/pose/a" in listed.read_text()
