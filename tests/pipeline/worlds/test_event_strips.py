from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from rendered_world import pixels, rows_of, sound, truth_of

from pipeline.worlds.event_strips.scene import draw_strip
from pipeline.worlds.event_strips.settings import HEARD, SEEN, SEGMENT_KINDS, EventStripsSettings
from pipeline.worlds.instruments import NAMES
from pipeline.worlds.world import render_world

SETTINGS = EventStripsSettings(train=3, validation=0, test=1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strips") / "world"
    render_world(SETTINGS, str(folder), seed=5)
    return folder


def test_each_segment_is_what_its_kind_says() -> None:
    for number in range(100):
        strip = draw_strip(SETTINGS, 1, "test", number)
        assert len(strip.segments) == 10
        for segment in strip.segments:
            seen = [sprite.instrument for sprite in segment.sprites]
            assert len(set(seen)) == len(seen)
            assert bool(seen) == (segment.kind in SEEN)
            assert (segment.heard is not None) == (segment.kind in HEARD)
            assert (segment.noise_db is not None) == (segment.kind == "noise")
            if segment.heard is not None:
                assert (segment.heard.instrument in seen) == (segment.kind == "seen_and_heard")
            assert (segment.event is not None) == (segment.kind == "seen_and_heard")


def test_kinds_are_as_frequent_as_their_weights_and_anywhere() -> None:
    kinds = [[s.kind for s in draw_strip(SETTINGS, 1, "train", number).segments] for number in range(600)]
    counts = Counter(kind for strip in kinds for kind in strip)
    for kind in SEGMENT_KINDS:
        assert counts[kind] / 6000 == pytest.approx(SETTINGS.weights[kind], abs=0.01)
    assert all(Counter(strip)["seen_and_heard"] == 3 for strip in kinds)
    at_place = np.mean([[kind == "seen_and_heard" for kind in strip] for strip in kinds], axis=0)
    assert np.abs(at_place - 0.3).max() < 0.08


def test_no_modality_alone_and_no_class_of_the_video_beats_the_guess_that_there_is_no_event() -> None:
    segments = [s for number in range(600) for s in draw_strip(SETTINGS, 1, "train", number).segments]
    heard = [s.event is not None for s in segments if s.heard is not None]
    seen = [s.event is not None for s in segments if s.sprites]
    assert np.mean(heard) < 0.5
    assert np.mean(seen) < 0.5
    for number in range(100):
        strip = draw_strip(SETTINGS, 1, "train", number)
        events = {s.event for s in strip.segments} - {None}
        off_screen = {s.heard.instrument for s in strip.segments if s.kind == "off_screen" and s.heard}
        main = {s.sprites[0].instrument for s in strip.segments if s.kind == "off_screen"}
        assert len(events | off_screen | main) <= SETTINGS.classes_per_video


def test_what_is_seen_and_heard_in_the_video_is_what_the_truth_says(world: Path) -> None:
    for row in [*rows_of(world, "train"), *rows_of(world, "test")]:
        truth, frames, (heard, rate) = truth_of(world, row), pixels(world / row["source"]), sound(world / row["source"])
        size = truth["frame_size"]
        empty = next(n for n, s in enumerate(truth["segments"]) if not s["sprites"])
        background = frames[empty * 4 + 2].astype(float)
        for place, segment in enumerate(truth["segments"]):
            piece = heard[place * rate + 800 : (place + 1) * rate - 800]
            level = 20 * np.log10(np.sqrt((piece**2).mean()))
            loud = segment["heard"] is not None or segment["kind"] == "noise"
            assert (level > -26) == loud, (segment["kind"], level)
            assert loud or level < -50
            difference = np.abs(frames[place * 4 + 2].astype(float) - background).max(axis=-1)
            outside = np.ones((size, size), bool)
            for sprite in segment["sprites"]:
                x1, y1, x2, y2 = (round(size * corner) for corner in sprite["box"])
                assert difference[y1:y2, x1:x2].mean() > 25
                outside[max(0, y1 - 2) : y2 + 2, max(0, x1 - 2) : x2 + 2] = False
            assert difference[outside].mean() < 8


def test_manifests_say_of_each_segment_what_is_seen_heard_and_both(world: Path) -> None:
    for row in rows_of(world, "train"):
        segments = truth_of(world, row)["segments"]
        for place, segment in enumerate(segments):
            seen = [sprite["class"] for sprite in segment["sprites"]]
            assert row["segment_visible"][place] == seen
            heard = row["segment_heard"][place]
            if segment["kind"] == "noise":
                assert heard == ["noise"]
            assert row["segment_labels"][place] == [name for name in heard if name in seen]
            boxes = [sprite["box"] for sprite in segment["sprites"] if sprite["class"] == segment["event"]]
            assert row["segment_boxes"][place] == boxes
        assert set(row["labels"]) == {name for names in row["segment_labels"] for name in names} <= set(NAMES)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"weights": {"seen_and_heard": 0}}, "weights with at least one positive weight"),
        ({"weights": {"heard": 1}}, "seen_and_heard"),
        ({"companion_weights": {7: 1.0}}, "at most 6 companions"),
        ({"segment_s": 0.9}, "segment_s of whole frames"),
    ],
)
def test_settings_that_no_strip_fits_are_refused(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        EventStripsSettings.model_validate(wrong)
