import dataclasses
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from rendered_world import pixels, rows_of, sound, truth_of

from pipeline.sound.flac import decode_flac
from pipeline.worlds.sync_movers.scene import draw_scene
from pipeline.worlds.sync_movers.settings import SyncMoversSettings
from pipeline.worlds.world import render_world

SETTINGS = SyncMoversSettings(train=6, validation=1, test=2)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("movers") / "world"
    render_world(SETTINGS, str(folder), seed=5)
    return folder


def test_objects_differ_in_nothing_but_their_place_and_when_they_move() -> None:
    for number in range(50):
        scene = draw_scene(SETTINGS, 1, "train", number)
        looks = {dataclasses.replace(mover.rest, x=0, y=0) for mover in scene.movers}
        assert (len(scene.movers), len(looks)) == (3, 1)


def test_the_sound_goes_with_one_object_to_the_sample_and_all_others_move_at_other_times() -> None:
    for number in range(100):
        scene = draw_scene(SETTINGS, 1, "test", number)
        assert [heard.mover for heard in scene.sounds] == [0, 1, None]
        for heard in scene.sounds:
            onsets = tuple(note.start_s for note in heard.source.notes)
            for place, mover in enumerate(scene.movers):
                if place == heard.mover:
                    assert mover.moves_s == onsets
                else:
                    distance = np.abs(np.subtract.outer(mover.moves_s, onsets)).min()
                    assert distance >= SETTINGS.apart_s - 1e-3


def test_what_moves_with_the_sound_moves_as_the_others_do_and_off_screen_sounds_are_as_others() -> None:
    scenes = [draw_scene(SETTINGS, 2, "train", number) for number in range(1500)]

    def figures(moves: tuple[float, ...]) -> list[float]:
        gaps = np.diff(moves)
        return [len(moves), moves[0], moves[-1], gaps.mean(), gaps.std(), gaps.min()]

    def alike(one: list[list[float]], other: list[list[float]]) -> bool:
        a, b = np.array(one), np.array(other)
        error = np.sqrt(a.var(axis=0) / len(a) + b.var(axis=0) / len(b))
        return bool((np.abs(a.mean(axis=0) - b.mean(axis=0)) < 4 * error).all())

    on = [scene for scene in scenes if scene.sounds[0].mover is not None]
    assert len(on) / len(scenes) == pytest.approx(0.75, abs=0.05)
    own, others, places = [], [], []
    for scene in on:
        for place, mover in enumerate(scene.movers):
            (own if place == scene.sounds[0].mover else others).append(figures(mover.moves_s))
        chosen = scene.movers[scene.sounds[0].mover or 0].rest
        places.append([chosen.x, chosen.y])
    assert alike(own, others)
    assert np.abs(np.mean(places, axis=0) - 0.5).max() < 0.03
    heard = {True: [], False: []}
    for scene in scenes:
        source = scene.sounds[0].source
        onsets = tuple(note.start_s for note in source.notes)
        heard[scene.sounds[0].mover is None].append([*figures(onsets), source.level_db, source.instrument])
    assert alike(heard[True], heard[False])


def test_boxes_are_where_pixels_move_and_nothing_else_does(world: Path) -> None:
    row = rows_of(world, "test")[0]
    truth, frames = truth_of(world, row), pixels(world / row["source"]).astype(float).mean(axis=-1)
    size = truth["frame_size"]
    change = np.abs(np.diff(frames, axis=0))
    inside = np.zeros((size, size), bool)
    for mover in truth["movers"]:
        x1, y1, x2, y2 = (round(size * corner) for corner in mover["envelope"])
        inside[y1 - 1 : y2 + 1, x1 - 1 : x2 + 1] = True
        assert change[:, y1:y2, x1:x2].max() > 60
        columns = [box[0] for box in mover["boxes"]], [box[2] for box in mover["boxes"]]
        assert (x1, x2) == (round(size * min(columns[0])), round(size * max(columns[1])))
    assert change[:, ~inside].max() < 40  # sensor noise and coding
    assert len(truth["movers"][0]["boxes"]) == len(frames)


def test_the_mover_moves_and_the_sound_grows_at_each_onset_in_the_video(world: Path) -> None:
    for row in rows_of(world, "train"):
        truth, (heard, rate) = truth_of(world, row), sound(world / row["source"])
        frames, size, fps = pixels(world / row["source"]).astype(float).mean(axis=-1), truth["frame_size"], truth["fps"]
        mover = truth["movers"][truth["mover"]]
        assert row["boxes"] == [mover["envelope"]]
        x1, y1, x2, y2 = (round(size * corner) for corner in mover["envelope"])
        change = np.abs(np.diff(frames[:, y1:y2, x1:x2], axis=0)).mean(axis=(1, 2))
        for onset in truth["onsets_s"]:
            first = int(np.ceil(onset * fps))  # the first frame that shows the movement, `change` counts from frame 1
            rest = [n for n in range(len(change)) if not any(-0.1 < n / fps - o < 0.5 for o in truth["onsets_s"])]
            assert max(change[first - 1], change[first]) > 2 * np.median(change[rest])
            start = round(onset * rate)
            high = np.diff(heard)
            before, after = high[start - 400 : start - 40], high[start : start + 400]
            assert (after**2).mean() > 1.5 * (before**2).mean()


def test_videos_of_a_scene_show_the_same_pixels_and_sounds_without_an_object_stand_in_manifests_of_their_own(
    world: Path,
) -> None:
    on, off = rows_of(world, "test"), rows_of(world, "test_off_screen")
    assert [row["video"][-1] for row in on] == ["a", "b", "a", "b"]
    assert [row["boxes"] for row in off] == [[], []]
    one, two, none = on[0], on[1], off[0]
    assert one["group"] == two["group"] == none["group"]
    assert one["boxes"] != two["boxes"]
    shown = [pixels(world / row["source"]) for row in (one, two, none)]
    assert np.array_equal(shown[0], shown[1])
    assert np.array_equal(shown[0], shown[2])
    on, off = rows_of(world, "train"), rows_of(world, "train_off_screen")
    assert len(on) + len(off) == SETTINGS.train
    assert all(row["boxes"] for row in on)


def test_the_sound_in_the_ground_truth_is_that_of_the_video(world: Path) -> None:
    row = rows_of(world, "test")[0]
    stem, rate = decode_flac((world / "ground_truth/test" / truth_of(world, row)["stem"]).read_bytes())
    heard, its_rate = sound(world / row["source"])
    assert rate == its_rate
    assert np.corrcoef(stem[0], heard[: stem.shape[1]])[0, 1] > 0.97


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"objects": 1}, "variants_per_test_scene <= objects"),
        ({"moves_per_s": 3}, "apart_s below 0.083"),
        ({"move_s": 0.6}, "move_s <= rest_s"),
        ({"min_size": 0.4}, "min_size <= max_size"),
    ],
)
def test_settings_that_no_scene_fits_are_refused(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        SyncMoversSettings.model_validate(wrong)
