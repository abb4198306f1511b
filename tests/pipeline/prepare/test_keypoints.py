"""Keypoints that other tools found come to lie in the samples: on the right frame, in the right place."""

import io
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from barcode_video import read_barcode, write_video
from cluster import storage
from jobs import cli
from known_sound import ffmpeg
from listed_rows import ListedRows
from pipeline.errors import ManifestError, MediaError
from pipeline.prepare.manifests.read import ListOptions, VideoList
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.manifests.write import write_list
from pipeline.prepare.poses.detections import LAYOUTS, Detection
from pipeline.prepare.poses.formats import FoundPersons, read_json, read_openpose
from pipeline.prepare.poses.seats import seated
from pipeline.prepare.prepare import in_this_process, prepare
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.video_samples import prepare_video
from pipeline.samples.metadata import SampleMetadata
from pipeline.samples.skeleton import LEFT_HAND, RIGHT_HAND
from pipeline.shards.keypoints_file import KEYPOINTS_FILE, Keypoints, decode_keypoints
from pipeline.shards.ledger import read_ledger
from pipeline.shards.members import read_sample
from pipeline.video.video_file import open_video

WIDTH, ROWS = 280, 160
SETTINGS = PrepareSettings(frame_rate_hz=2, frame_choice="exact", audio_samples=8000, audio_rate_hz=8000)
Places = npt.NDArray[np.float64]
STORED = 1 / 4096
"""How exactly points are stored."""


def person(x: float, y: float = 40.0, points: int = 136, confidence: float = 0.9) -> list[float]:
    """Points from (x, y) on, each 0.1 to the right and below of the one before."""
    return [value for n in range(points) for value in (x + 0.1 * n, y + 0.1 * n, confidence)]


def alphapose(frames: Mapping[str, Sequence[list[float]]], **more: Any) -> str:
    entries = [
        {"image_id": name, "keypoints": points, "score": 2.5 - at, **more}
        for name, persons in frames.items()
        for at, points in enumerate(persons)
    ]
    return json.dumps(entries)


def put(folder: Path, text: str) -> str:
    (folder / "v.json").write_text(text)
    return str(folder / "v")


def samples_of(
    video: Path, keypoints: str, settings: PrepareSettings = SETTINGS, **changed: Any
) -> list[tuple[SampleMetadata, Keypoints, dict[str, bytes]]]:
    settings = PrepareSettings.model_validate(settings.model_dump() | {"keypoints": changed})
    prepared = prepare_video(VideoRow("v", str(video), keypoints=keypoints), settings)
    found = []
    for one in prepared.samples:
        told, points = (
            SampleMetadata.model_validate_json(one.files["json"]),
            decode_keypoints(one.files[KEYPOINTS_FILE]),
        )
        assert points.shape == (len(told.frame_times_s), told.keypoints, 68, 3)
        assert told.keypoints == settings.keypoints.persons
        found.append((told, points, one.files))
    return found


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video whose frames last 20 to 60 ms, from 0.3 s on its clock."""
    ticks = np.cumsum(np.random.default_rng(0).integers(20, 60, 75)).tolist()
    return write_video(tmp_path_factory.mktemp("video") / "v.mp4", 3, frame_times=ticks, start_s=0.3)


def test_a_frames_number_is_that_of_the_videos_own_frame_whatever_its_times(uneven: Path, tmp_path: Path) -> None:
    place = put(tmp_path, alphapose({f"{n}.jpg": [person(2.0 * n)] for n in range(75)}))
    for settings in (SETTINGS, SETTINGS.model_copy(update={"layout": "segments", "segments": 2})):
        for _, points, files in samples_of(uneven, place, settings):
            pictures = [content for name, content in sorted(files.items()) if name.endswith("jpg")]
            for content, (one, other) in zip(pictures, points, strict=True):
                assert not other.any()
                number = read_barcode(np.asarray(Image.open(io.BytesIO(content))))
                assert one[0].tolist() == pytest.approx([2 * number / WIDTH, 0.25, 0.9], abs=STORED)


def test_every_frame_of_a_clip_has_its_own(uneven: Path, tmp_path: Path) -> None:
    place = put(tmp_path, alphapose({f"{n}.jpg": [person(2.0 * n)] for n in range(75) if n % 3}))
    clips = SETTINGS.model_copy(update={"layout": "clip", "clip_s": 1.0, "clip_fps": 20.0})
    (_, points, _), *_ = samples_of(uneven, place, clips)
    assert len(points) == 20
    seen = [round(one[0, 0] * WIDTH / 2) for one in points[:, 0].astype(float) if one.any()]
    assert seen == sorted(seen)
    assert all(number % 3 for number in seen)
    assert 8 < len(seen) < 20  # where a frame isn't in the file nobody is seen


@pytest.mark.parametrize(("name", "first"), [("{:06d}.jpg", 1), ("frame_{}.png", 0), ("{}", 0)])
def test_frames_taken_out_at_a_rate_are_found_by_time(uneven: Path, name: str, first: int, tmp_path: Path) -> None:
    place = put(tmp_path, alphapose({name.format(n + first): [person(8.0 * n)] for n in range(1 - first, 23)}))
    with open_video(str(uneven)) as video:
        begin_s = float(video.picture_start_s)
    assert begin_s > 0
    for told, points, _ in samples_of(uneven, place, rate_hz=8.0):
        number = round(float(points[0, 0, 0, 0]) * WIDTH / 8)
        assert abs(number / 8 - (told.frame_times_s[0] - begin_s)) <= 0.0625 + 1e-6


@pytest.mark.parametrize(
    ("how", "shape"), [({}, (280, 160)), ({"rotation": 90}, (160, 280)), ({"pixel_aspect": Fraction(2)}, (280, 80))]
)
def test_points_lie_on_what_they_were_found_on_in_decoded_frames(
    how: dict[str, Any], shape: tuple[int, int], tmp_path: Path
) -> None:
    """FFmpeg, as OpenCV, turns frames upright and does not stretch their pixels."""

    def spot(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        dark = np.zeros_like(picture)
        dark[30:42, 180:192] = 255
        return dark

    video = write_video(tmp_path / "v.mp4", 2, coded_as=spot, **how)
    ffmpeg("-i", video, "-frames:v", "1", tmp_path / "seen.png")
    seen = Image.open(tmp_path / "seen.png")
    x, y = middle_of(seen)
    named = put(tmp_path, alphapose({f"{n}.jpg": [person(x, y)] for n in range(50)}))
    (_, points, files), *_ = samples_of(video, named)
    stored = Image.open(io.BytesIO(files["jpg"]))
    assert stored.size == shape
    found = points[0, 0, 0].tolist()
    assert (found[0] * shape[0], found[1] * shape[1]) == pytest.approx(middle_of(stored), abs=0.6)
    shares = (np.array(person(x, y)).reshape(-1, 3) / (*seen.size, 1)).reshape(-1).tolist()
    scaled = put(tmp_path, alphapose({f"{n}.jpg": [shares] for n in range(50)}))
    (_, points, _), *_ = samples_of(video, scaled, image_size=[1, 1])
    assert points[0, 0, 0].tolist() == pytest.approx(found, abs=STORED)


def middle_of(image: Image.Image) -> tuple[float, float]:
    bright = np.asarray(image.convert("L")).astype(float)
    bright[bright < 128] = 0
    rows, columns = np.indices(bright.shape) + 0.5
    return float((bright * columns).sum() / bright.sum()), float((bright * rows).sum() / bright.sum())


def only(found: FoundPersons) -> list[Places]:
    return [one.points for persons in found.frames.values() for one in persons]


def test_all_layouts_come_to_the_same_skeleton() -> None:
    assert set(LAYOUTS) == {17, 25, 26, 68, 133, 136}
    found = {n: only(read_json(alphapose({"0.jpg": [person(0, 0, n)]}).encode()))[0] for n in LAYOUTS}
    numbers = {n: [round(10 * x) if c else None for x, _, c in points] for n, points in found.items()}
    wrists = {n: numbers[n][9:11] for n in numbers}
    assert wrists == {n: [9, 10] for n in numbers} | {25: [7, 4]}
    heels = {n: numbers[n][24:26] for n in numbers}
    assert heels == {17: [None, None], 25: [21, 24], 26: [24, 25], 68: [24, 25], 133: [19, 22], 136: [24, 25]}
    hands = {n: (numbers[n][LEFT_HAND], numbers[n][RIGHT_HAND], numbers[n][67]) for n in (68, 133, 136)}
    assert hands == {68: (26, 47, 67), 133: (91, 112, 132), 136: (94, 115, 135)}
    assert all((found[n][26:] == 0).all() for n in (17, 25, 26))


def test_coco_and_openpose_give_what_alphapose_gives() -> None:
    points = person(5, 6, 133)
    plain = only(read_json(alphapose({"3.jpg": [points]}).encode()))[0]
    cuts = {"keypoints": (0, 17), "foot_kpts": (17, 23), "face_kpts": (23, 91), "lefthand_kpts": (91, 112)}
    parts = {name: points[3 * a : 3 * b] for name, (a, b) in {**cuts, "righthand_kpts": (112, 133)}.items()}
    images = [{"id": 7, "file_name": "frames/000003.png", "width": 560, "height": 320}, {"id": 8, "file_name": "4.png"}]
    coco = read_json(json.dumps({"images": images, "annotations": [{"image_id": 7, **parts}]}).encode())
    assert (list(coco.frames), coco.sizes, coco.first) == ([3, 4], {3: (560, 320)}, 1)
    assert np.array_equal(only(coco)[0], plain)
    body = person(5, 6, 25)
    hands = {"hand_left_keypoints_2d": points[273:336], "hand_right_keypoints_2d": points[336:]}
    people = {"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": body, **hands}]}
    opened = read_openpose({"v_000000000003_keypoints.json": json.dumps(people).encode()})
    assert (list(opened.frames), opened.first) == ([3], 1)
    assert np.array_equal(only(opened)[0][26:], plain[26:])
    seen = {"images": images, "annotations": [{"image_id": 7, "keypoints": [4, 5, 2, 6, 7, 1] + [0] * 45}]}
    assert only(read_json(json.dumps(seen).encode()))[0][:3, 2].tolist() == [1, 0.5, 0]


def seats_of(frames: Sequence[Sequence[tuple[float, float, str | None]]], persons: int = 2) -> list[list[float | None]]:
    """Where the persons (x, score, identity) of each frame are, in their places."""

    def at(x: float, score: float, identity: str | None) -> Detection:
        points = np.zeros((68, 3))
        points[:3] = [(x - 10, 0, 1), (x, 30, 1), (x + 10, 60, 1)]
        return Detection(points, score, identity)

    found = {number: [at(*one) for one in frame] for number, frame in enumerate(frames)}
    return [
        [None if one is None else float(one.points[1, 0]) for one in row] for row in seated(found, persons).values()
    ]


def test_a_person_keeps_its_place() -> None:
    near = [[(100, 2, None), (300, 1, None)], [(296, 3, None), (104, 2, None)], [(292, 1, None)], [], [(108, 1, None)]]
    expected = [[100, 300], [104, 296], [None, 292], [None, None], [108, None]]
    assert seats_of(near) == expected
    followed = [[(100, 2, "a"), (110, 1, "b")], [(100, 2, "b"), (110, 1, "a")], [(500, 1, "a")], [(90, 1, "c")]]
    assert seats_of(followed) == [[100, 110], [110, 100], [500, None], [None, 90]]
    alone_first = [[(100, 1, None)], [(400, 2, None)], [(400, 2, None), (104, 1, None)]]
    assert seats_of(alone_first) == [[100, None], [None, 400], [104, 400]]
    crowd = [[(100, 1, None), (200, 3, None), (300, 2, None)]]
    assert seats_of(crowd) == [[200, 300]]
    assert seats_of(crowd, 4) == [[200, 300, 100, None]]
    nobody_followed = [[(100, 2, "0"), (300, 1, "0")], [(300, 2, "0"), (100, 1, "0")]]
    assert seats_of(nobody_followed) == [[100, 300], [100, 300]]


WRONG: dict[str, tuple[str, str]] = {
    "no JSON": ('[{"image_id": 1,\n oops', r"v.json: line 2: expected JSON, found something else"),
    "another object": ('{"version": 1, "bodies": []}', r"expected AlphaPose's list .* found an object with 'version'"),
    "another length": (alphapose({"1.jpg": [person(1)[:-1]]}), r"entry 1: keypoints: expected x, y and .* 407 numbers"),
    "another layout": (alphapose({"1.jpg": [person(1, 2, 21)]}), r"entry 1: keypoints: expected 17, 25, .* found 21"),
    "NaN": (alphapose({"1.jpg": [[float("nan"), *person(1)[1:]]]}), r"keypoints\.0: expected a number, found nan"),
    "text": (alphapose({"1.jpg": [["a", *person(1)[1:]]]}), r"keypoints\.0: expected a number, found 'a'"),
    "no number": (alphapose({"a.jpg": [person(1)]}), r"entry 1: image_id: expected a frame's number"),
    "pixels as confidence": (alphapose({"1.jpg": [person(1, 2, 17, 99)]}), r"expected confidences in 0–1, found 99"),
    "a score that is none": (alphapose({"1.jpg": [person(1)]}, score="x"), r"score: expected a number, found 'x'"),
    "no images": ('{"annotations": []}', r"images: expected a list, found None"),
    "larger pictures": (alphapose({"1.jpg": [person(900, 500)]}), r"pictures of 280×160, found 136 of 136|68 of 68"),
    "another video": (
        alphapose({"99.jpg": [person(1)]}),
        r"expected those of 75 frames, .*rate_hz is null, found frame",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_file_is_told_with_its_place(what: str, uneven: Path, tmp_path: Path) -> None:
    text, sentence = WRONG[what]
    with pytest.raises(MediaError, match=sentence) as raised:
        samples_of(uneven, put(tmp_path, text))
    assert raised.value.reason == "unreadable"
    assert f"its keypoints {tmp_path}/v.json: " in str(raised.value)


@pytest.mark.parametrize(
    ("people", "sentence"),
    [
        (
            [{"pose_keypoints_2d": person(1, 2, 18)}],
            r"v_7_keypoints.json: people.0.pose_keypoints_2d: expected 25 .* 18",
        ),
        (
            [{"pose_keypoints_2d": person(1, 2, 25), "hand_left_keypoints_2d": [1, 2, 3]}],
            r"hand_left.*expected 21 .* 1",
        ),
        (None, r"v_7_keypoints.json: people: expected a list, found None"),
    ],
)
def test_a_wrong_file_of_openposes_is_named(people: Any, sentence: str, uneven: Path, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v/v_7_keypoints.json").write_text(json.dumps({"people": people}))
    with pytest.raises(MediaError, match=sentence):
        samples_of(uneven, str(tmp_path / "v"))


def test_folders_of_tools_are_found_by_the_videos_name(uneven: Path, tmp_path: Path) -> None:
    folder = tmp_path / "v"
    folder.mkdir()
    body = {"people": [{"pose_keypoints_2d": person(28, 40, 25)}]}
    for n in range(75):
        (folder / f"v_{n:012d}_keypoints.json").write_text(json.dumps(body))
    found = [samples_of(uneven, str(folder))[0][1]]
    (folder / "alphapose-results.json").write_text(alphapose({f"{n}.jpg": [person(28, 40, 26)] for n in range(75)}))
    found.append(samples_of(uneven, str(folder))[0][1])
    for one in found:
        assert one[0, 0, 0].tolist() == pytest.approx([0.1, 0.25, 0.9], abs=STORED)


def test_lists_and_the_option_say_where_keypoints_are(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    listed = tmp_path / "list.csv"
    listed.write_text("video,source,keypoints\none,a.mp4,pose/x.json\ntwo,b.mp4,\n")
    options = ListOptions(keypoints="/pose/")
    rows = list(VideoList([str(listed)], options))
    assert [row.keypoints for row in rows] == [f"{tmp_path}/pose/x.json", "/pose/two"]
    assert [row.keypoints for row in VideoList([str(tmp_path / "a.mp4")], options)] == ["/pose/a"]
    assert [row.keypoints for row in VideoList([str(listed)])] == [f"{tmp_path}/pose/x.json", None]
    for name in ("out.jsonl", "out.csv", "out.parquet"):
        write_list(rows, str(tmp_path / name))
        assert list(VideoList([str(tmp_path / name)])) == rows
    ids = tmp_path / "vggsound.csv"
    ids.write_text("abcdefghijk,30,horn,train\n")
    videos = VideoList([str(ids)], ListOptions(keypoints="s3://b/{youtube}_{start:06d}.json"))
    assert [row.keypoints for row in videos] == ["s3://b/abcdefghijk_000030.json"]
    other = VideoList([str(ids)], ListOptions(keypoints="s3://c/{youtube}_{start:06d}.json"))
    assert videos.fingerprint() != other.fingerprint()
    listed.write_text("source,keypoints\na.mp4,https://host/a.json\n")
    with pytest.raises(
        ManifestError, match="keypoints: expected a file here or on object storage, found 'https://host"
    ):
        list(VideoList([str(listed)]))
    with pytest.raises(ManifestError, match="--keypoints: expected files here or on object storage, found 'https://"):
        VideoList([str(ids)], ListOptions(keypoints="https://host/{video}.json"))
    with pytest.raises(ManifestError, match="expected a youtube for {youtube} in --keypoints, found none for 'a'"):
        list(VideoList([str(tmp_path / "a.mp4")], ListOptions(keypoints="/pose/{youtube}.json")))


def test_a_video_without_its_file_fails_or_is_prepared_without_and_bytes_are_the_same(
    uneven: Path, tmp_path: Path
) -> None:
    text = alphapose({f"{n}.jpg": [person(2.0 * n), person(100)] for n in range(75)})
    rows = ListedRows(
        [VideoRow(name, str(uneven), keypoints=str(tmp_path / name)) for name in ("v", "w") if put(tmp_path, text)]
    )
    outs = [str(tmp_path / f"out{n}") for n in range(3)]
    lenient = PrepareSettings.model_validate(SETTINGS.model_dump() | {"keypoints": {"required": False}})
    for out, settings in zip(outs, (SETTINGS, SETTINGS, lenient), strict=True):
        prepare(rows, out, settings, in_this_process)
    told = [[(one.status, one.reason, one.message) for one in read_ledger(out)] for out in outs]
    assert [entry[:2] for entry in told[0]] == [("ok", None), ("failed", "missing")]
    assert f"its keypoints {tmp_path}/w: expected w.json or a folder with" in str(told[0][1][2])
    assert [entry[0] for entry in told[2]] == ["ok", "ok"]
    tars = [next(Path(out).glob("*.tar")).read_bytes() for out in outs]
    assert tars[0] == tars[1]
    sample = read_sample(tars[0][: tars[0].index(b"v_0001")], "v_0000")
    assert decode_keypoints(sample.files[KEYPOINTS_FILE])[0].any((1, 2)).all()


def test_keypoints_are_read_from_object_storage(uneven: Path, s3_bucket: str, tmp_path: Path) -> None:
    text = alphapose({f"{n}.jpg": [person(28)] for n in range(75)})
    storage.write_text(f"{s3_bucket}/pose/v.json", text)
    found = samples_of(uneven, f"{s3_bucket}/pose/v")[0][1]
    assert np.array_equal(found, samples_of(uneven, put(tmp_path, text))[0][1])
    with pytest.raises(MediaError, match="its keypoints .*/pose/w: expected w.json") as raised:
        samples_of(uneven, f"{s3_bucket}/pose/w")
    assert raised.value.reason == "missing"


def test_the_verb_takes_a_folder_of_keypoints(uneven: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, alphapose({f"{n}.jpg": [person(28)] for n in range(75)}))

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main([*words])
        return int(ended.value.code or 0), *capsys.readouterr()

    words = ["prepare", str(uneven), "--keypoints", str(tmp_path), "--out", str(tmp_path / "out"), "--local"]
    words += ["-s", "prepare.audio_samples=8000", "-s"]
    assert run(*words, "prepare.keypoints.persons=1")[0] == 0
    told = json.loads(run("inspect", str(tmp_path / "out"), "--json")[1].splitlines()[-1])
    assert told["samples"] == told["with_keypoints"] == 1
    code, _, sentence = run(*words, "prepare.keypoints.persons=2")
    assert code == 2
    assert "prepare.keypoints was {'persons': 1" in sentence.replace("\n", " ")
