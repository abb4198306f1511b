"""Images with sounds beside them, as lists of benchmarks have them."""

import io
import json
import wave
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from cluster import storage
from pipeline.errors import ManifestError, MediaError
from pipeline.prepare.manifests.presence import missing
from pipeline.prepare.manifests.read import ListOptions, VideoList
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.plan import settle_plan
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.video_samples import prepare_video
from pipeline.sound.flac import decode_flac, encode_flac

RATE_HZ = 8000
SETTINGS = PrepareSettings(audio_rate_hz=RATE_HZ, audio_samples=4000, frame_height=48)
Samples = npt.NDArray[np.int16]


def sound_of(samples: int) -> Samples:
    """Noise, no stretch of which is like another."""
    return np.random.default_rng(0).integers(-9000, 9000, (1, samples), dtype=np.int16)


def put_wav(path: Path, audio: Samples, rate_hz: int = RATE_HZ) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(audio.tobytes())
    return path


def put_mp3(path: Path, audio: Samples) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mp3", rate=RATE_HZ, layout="mono")
        frame = av.AudioFrame.from_ndarray(audio, format="s16p", layout="mono")
        frame.sample_rate = RATE_HZ
        for piece in (frame, None):
            container.mux(stream.encode(piece))
    return path


def put_image(path: Path, size: tuple[int, int] = (64, 40)) -> Path:
    """Red on the left, blue on the right."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[:, : size[0] // 2, 0] = pixels[:, size[0] // 2 :, 2] = 250
    Image.fromarray(pixels).save(path)
    return path


def row_of(folder: Path, sound: Path, image: str = "a.jpg") -> VideoRow:
    return VideoRow("a", str(put_image(folder / image)), ("violin",), boxes=((0.1, 0.2, 0.3, 0.4),), sound=str(sound))


@pytest.mark.parametrize("samples", [9000, 4000, 1500, 7])
def test_the_middle_of_a_sound_is_taken_and_a_short_one_repeated(samples: int, tmp_path: Path) -> None:
    audio = sound_of(samples)
    prepared = prepare_video(row_of(tmp_path, put_wav(tmp_path / "a.wav", audio)), SETTINGS)
    (sample,) = prepared.samples
    found, rate_hz = decode_flac(sample.files["flac"])
    start = max(0, samples - 4000) // 2
    expected = np.tile(audio, 4000 // samples + 1)[:, start : start + 4000]
    assert (rate_hz, sample.key) == (RATE_HZ, "a_0000")
    assert np.array_equal(found, expected)
    told = json.loads(sample.files["json"])
    assert told["audio_start_s"] == pytest.approx(start / RATE_HZ, abs=1e-4)
    assert told["frame_times_s"] == [pytest.approx(start / RATE_HZ + 0.25, abs=1e-4)]
    assert (told["layout"], told["labels"], told["boxes"]) == ("frame", ["violin"], [[0.1, 0.2, 0.3, 0.4]])


def test_of_a_row_with_a_range_the_middle_of_that_is_taken(tmp_path: Path) -> None:
    audio = sound_of(5 * RATE_HZ)
    row = row_of(tmp_path, put_wav(tmp_path / "a.wav", audio))
    (sample,) = prepare_video(replace(row, start_s=2.0, end_s=4.0), SETTINGS).samples
    assert np.array_equal(decode_flac(sample.files["flac"])[0], audio[:, 22_000:26_000])
    with pytest.raises(MediaError, match="expected sound from 7 s on") as raised:
        prepare_video(replace(row, start_s=7.0, end_s=9.0), SETTINGS)
    assert raised.value.reason == "too_short"


@pytest.mark.parametrize("image", ["a.jpg", "a.png", "a.webp"])
def test_images_are_stored_as_frames_are_and_never_enlarged(image: str, tmp_path: Path) -> None:
    sound = put_wav(tmp_path / "a.wav", sound_of(5000))
    put_image(tmp_path / image, (640, 96))
    row = VideoRow("a", str(tmp_path / image), sound=str(sound))
    (sample,) = prepare_video(row, SETTINGS).samples
    stored = Image.open(io.BytesIO(sample.files["jpg"]))
    assert (stored.format, stored.size) == ("JPEG", (320, 48))
    red, blue = stored.getpixel((40, 24)), stored.getpixel((280, 24))
    assert isinstance(red, tuple)
    assert isinstance(blue, tuple)
    assert red[0] > 200 > 100 > red[2]
    assert blue[2] > 200 > 100 > blue[0]
    (small,) = prepare_video(row_of(tmp_path, sound), SETTINGS).samples
    assert Image.open(io.BytesIO(small.files["jpg"])).size == (64, 40)


def test_sounds_may_be_of_other_kinds_and_rates(tmp_path: Path) -> None:
    audio = sound_of(8000)
    (tmp_path / "a.flac").write_bytes(encode_flac(audio, RATE_HZ))
    for sound in (
        tmp_path / "a.flac",
        put_mp3(tmp_path / "a.mp3", audio),
        put_wav(tmp_path / "b.wav", audio, 2 * RATE_HZ),
    ):
        (sample,) = prepare_video(row_of(tmp_path, sound), SETTINGS).samples
        assert decode_flac(sample.files["flac"])[0].shape == (1, 4000)


@pytest.mark.parametrize(
    ("spoilt", "reason", "sentence"),
    [
        ("no sound", "missing", "its sound .*a.wav: no such file"),
        ("no image", "missing", "its image: no such file"),
        ("text as sound", "unreadable", "its sound .*a.wav: expected wav"),
        ("text as image", "unreadable", "its image: expected JPEG or PNG or WEBP, found something else"),
        ("half an image", "unreadable", "its image: "),
        ("empty sound", "unreadable", "its sound .*a.wav: it is empty"),
        ("silence", "silent", "its sound is below prepare.silence_dbfs"),
    ],
)
def test_what_is_missing_or_damaged_has_its_reason(spoilt: str, reason: str, sentence: str, tmp_path: Path) -> None:
    sound, image = tmp_path / "a.wav", tmp_path / "a.jpg"
    row = row_of(tmp_path, put_wav(sound, sound_of(5000) * (spoilt != "silence")))
    changes = {
        "no sound": sound.unlink,
        "no image": image.unlink,
        "text as sound": lambda: sound.write_text("no sound at all"),
        "text as image": lambda: image.write_text("no image at all"),
        "half an image": lambda: image.write_bytes(image.read_bytes()[:300]),
        "empty sound": lambda: sound.write_bytes(b""),
        "silence": lambda: None,
    }
    changes[spoilt]()
    with pytest.raises(MediaError, match=sentence) as raised:
        prepare_video(row, SETTINGS)
    assert raised.value.reason == reason


@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_an_image_without_a_sound_is_told_for_what_it_is(kind: str, tmp_path: Path) -> None:
    image = tmp_path / f"a.{kind}"
    Image.new("RGB", (64, 48)).save(image)
    with pytest.raises(MediaError, match="^it is an image and no video; gavt prepare takes images whose") as raised:
        prepare_video(VideoRow("a", str(image)), SETTINGS)
    assert raised.value.reason == "no_video"
    with pytest.raises(ManifestError, match=rf"a\.{kind}: it is an image and neither a video nor a list; gavt prepare"):
        VideoList([str(image)])


def test_images_and_sounds_are_read_from_object_storage(s3_bucket: str, tmp_path: Path) -> None:
    storage.upload(put_image(tmp_path / "a.jpg"), f"{s3_bucket}/a.jpg")
    storage.upload(put_wav(tmp_path / "a.wav", sound_of(4000)), f"{s3_bucket}/a.wav")
    (sample,) = prepare_video(VideoRow("a", f"{s3_bucket}/a.jpg", sound=f"{s3_bucket}/a.wav"), SETTINGS).samples
    assert np.array_equal(decode_flac(sample.files["flac"])[0], sound_of(4000))
    with pytest.raises(MediaError, match="its sound .*b.wav: no such file") as raised:
        prepare_video(VideoRow("a", f"{s3_bucket}/a.jpg", sound=f"{s3_bucket}/b.wav"), SETTINGS)
    assert raised.value.reason == "missing"
    rows = [
        VideoRow(name, f"{s3_bucket}/a.jpg", sound=f"{place}/{name}.wav")
        for name in ("a", "b")
        for place in (s3_bucket, str(tmp_path))
    ]
    assert list(missing(rows)) == [(row, row.sound) for row in rows[2:]]


def test_other_layouts_refuse_images_before_work_begins(tmp_path: Path) -> None:
    listed = tmp_path / "list.csv"
    listed.write_text("source,sound\na.jpg,a.wav\n")
    with pytest.raises(ManifestError, match="found an image with a sound"):
        settle_plan(str(tmp_path / "out"), VideoList([str(listed)]), SETTINGS.model_copy(update={"layout": "clip"}))


def test_lists_say_where_sounds_are(tmp_path: Path) -> None:
    listed = tmp_path / "list.csv"
    listed.write_text("video,source,sound\none,a.jpg,a.wav\ntwo,a.jpg,s3://bucket/b.wav\n")
    rows = list(VideoList([str(listed)]))
    assert [row.sound for row in rows] == [f"{tmp_path}/a.wav", "s3://bucket/b.wav"]  # one image, two sounds
    listed.write_text("source,sound\na.jpg,https://host/a.wav\n")
    with pytest.raises(ManifestError, match="sound: expected a file here or on object storage, found 'https://host"):
        list(VideoList([str(listed)]))
    ids = tmp_path / "flickr_test.csv"
    ids.write_text("10000130166,202\n10007936344,0\n")
    options = ListOptions(source="/flickr/frames/{video}.jpg", sound="/flickr/audio/{video}.wav")
    rows = list(VideoList([str(ids)], options))
    assert [(row.video, row.source, row.sound) for row in rows] == [
        (name, f"/flickr/frames/{name}.jpg", f"/flickr/audio/{name}.wav") for name in ("10000130166", "10007936344")
    ]
    with pytest.raises(ManifestError, match="--sound: expected --source"):
        VideoList([str(ids)], ListOptions(sound="/flickr/{video}.wav"))
    with pytest.raises(ManifestError, match="--sound '/flickr/a.wav': expected {video} or {youtube}"):
        VideoList([str(ids)], ListOptions(source="/flickr/{video}.jpg", sound="/flickr/a.wav"))


@pytest.mark.parametrize(("sound", "start_s"), [("{video}", None), ("{youtube}", 30.0)])
def test_sounds_of_whole_videos_keep_the_range_of_their_row(sound: str, start_s: float | None, tmp_path: Path) -> None:
    entry = {"file": "abcdefghijk_000030", "class": "horn", "bbox": [[0.1, 0.1, 0.5, 0.5]]}
    (tmp_path / "vggss.json").write_text(json.dumps([entry]))
    options = ListOptions(source="/frames/{video}.jpg", sound=f"/audio/{sound}.wav")
    (row,) = VideoList([str(tmp_path / "vggss.json")], options)
    assert (row.source, row.start_s) == ("/frames/abcdefghijk_000030.jpg", start_s)


def test_frames_of_music_are_found_by_name_and_sounds_by_youtube_id(tmp_path: Path) -> None:
    entry = {"file": "-_-TDDxoaAc_000_00000", "class": "cello", "bbox": [0.3, 0.1, 0.2, 0.8]}
    (tmp_path / "music_solo.json").write_text(json.dumps([entry]))
    options = ListOptions(source="/music/frames/{video}.jpg", sound="/music/audio/{youtube}.wav")
    (row,) = VideoList([str(tmp_path / "music_solo.json")], options)
    assert (row.source, row.sound) == ("/music/frames/-_-TDDxoaAc_000_00000.jpg", "/music/audio/-_-TDDxoaAc.wav")


def test_each_medium_of_a_list_of_pairs_is_prepared_once(tmp_path: Path) -> None:
    listed = tmp_path / "pairs.csv"
    listed.write_text(
        "video,audio,label\nabcdefghijk_000010,abcdefghijk_000010,non-sounding\n"
        "abcdefghijk_000010,lmnopqrstuv_000020,non-sounding\n10000130166,lmnopqrstuv_000020,non-sounding\n"
    )
    rows = list(VideoList([str(listed)], ListOptions(source="/videos/{video}.mp4")))
    assert [(row.video, row.frame_s, row.labels) for row in rows] == [
        ("abcdefghijk_000010", 5.0, ()),
        ("lmnopqrstuv_000020", 5.0, ()),
        ("10000130166", None, ()),
    ]


def test_is3_has_an_image_and_a_sound_for_each_source_of_a_group(tmp_path: Path) -> None:
    names = ["accordion_female_10438_accordion", "accordion_female_10438_female"]
    entries = [
        {"image": f"/far/frames/{name}.jpg", "audio": f"/far/wav/{name}.wav", "gt_box": [56.0, 112.0, 168.0, 224.0]}
        for name in names
    ]
    listed = tmp_path / "synthetic3240_bbox.json"
    listed.write_text(json.dumps(entries))
    rows = list(VideoList([str(listed)]))
    assert [(row.video, row.source, row.sound) for row in rows] == [
        (name, f"/far/frames/{name}.jpg", f"/far/wav/{name}.wav") for name in names
    ]
    assert [(row.labels, row.group, row.boxes) for row in rows] == [
        ((label,), "accordion_female_10438", ((0.25, 0.5, 0.75, 1.0),)) for label in ("accordion", "female")
    ]
    options = ListOptions(source="/here/{video}.jpg", sound="/here/{video}.wav")
    assert [row.sound for row in VideoList([str(listed)], options)] == [f"/here/{name}.wav" for name in names]
    listed.write_text(json.dumps([{**entries[0], "gt_box": [0, 0, 225, 10]}]))
    with pytest.raises(ManifestError, match="gt_box: expected corners x1, y1, x2, y2 in pixels of 224"):
        list(VideoList([str(listed)]))
