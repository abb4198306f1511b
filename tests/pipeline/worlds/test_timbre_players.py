import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from rendered_world import contents, pixels, rows_of, truth_of

from pipeline.experiment import ExperimentSettings
from pipeline.prepare.manifests.read import VideoList
from pipeline.prepare.video_samples import prepare_video
from pipeline.samples.skeleton import LEFT_HAND, POINTS, RIGHT_HAND
from pipeline.settings.load import load_settings
from pipeline.shards.keypoints_file import KEYPOINTS_FILE, decode_keypoints
from pipeline.worlds.timbre_scenes.players import STROKE
from pipeline.worlds.timbre_scenes.scene import draw_scene
from pipeline.worlds.timbre_scenes.settings import STROKE_S, PlayersSettings, TimbreScenesSettings
from pipeline.worlds.world import render_world

RECIPE = Path(__file__).parents[3] / "configs" / "data" / "timbre_players.yaml"


def settings_of(silent: str = "move", alike: bool = True, **values: object) -> TimbreScenesSettings:
    recipe = load_settings(str(RECIPE), ExperimentSettings).settings.synth.model_dump()
    players = {"silent": silent, "alike": alike}
    return TimbreScenesSettings.model_validate(
        recipe | {"train": 2, "validation": 0, "test": 1, "players": players} | values
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("players") / "world"
    render_world(settings_of(), str(folder), seed=5)
    return folder


def keypoints(world: Path, row: dict) -> np.ndarray:
    """Points [T, persons, 68, 2] in pixels."""
    entries = json.loads((world / row["keypoints"]).read_text())
    frames = 1 + max(int(entry["image_id"].removesuffix(".jpg")) for entry in entries)
    return np.array([entry["keypoints"] for entry in entries]).reshape(frames, -1, POINTS, 3)[..., :2]


def test_same_seed_same_bytes_whatever_the_workers(world: Path, tmp_path: Path) -> None:
    render_world(settings_of(), str(tmp_path), seed=5, workers=2)
    assert contents(tmp_path) == contents(world)


def test_without_players_a_world_is_what_it_was_before_there_were_any(tmp_path: Path) -> None:
    settings = TimbreScenesSettings(train=2, validation=0, test=1, frame_size=64, duration_s=1)
    render_world(settings, str(tmp_path), seed=7)
    truths = {name: content for name, content in contents(tmp_path).items() if name.endswith((".json", ".jsonl"))}
    del truths["world.json"]
    assert (
        hashlib.sha256(b"".join(truths[name] for name in sorted(truths))).hexdigest()
        == "7be8576c3cf2b64029525ee147374b0a2688e95d85814a7cebf750810b0fc8e8"
    )
    told = json.loads((tmp_path / "world.json").read_text())
    del told["settings"]["players"]
    (tmp_path / "world.json").write_text(json.dumps(told))
    assert render_world(settings, str(tmp_path), seed=7).rendered == 0  # an old world goes on


def test_with_their_own_looks_and_places_players_change_nothing_else_of_a_scene() -> None:
    for number in range(20):
        plain = draw_scene(settings_of().model_copy(update={"players": None}), 3, "test", number)
        played = draw_scene(settings_of(alike=False), 3, "test", number)
        assert (played.variants, played.background, played.classes) == (plain.variants, plain.background, plain.classes)
        assert [one.instrument for one in played.sprites] == list(plain.classes)
        assert [one.colour for one in played.sprites] == [one.colour for one in plain.sprites]


def test_instruments_alike_differ_in_their_places_only_and_look_like_any_class() -> None:
    own, looks = 0, set()
    for number in range(80):
        scene = draw_scene(settings_of(), 3, "train", number)
        assert len({(one.instrument, one.finish, one.colour, one.tilt_degrees) for one in scene.sprites}) == 1
        looks.add(scene.sprites[0].instrument)
        own += scene.sprites[0].instrument == scene.classes[0]
    assert len(looks) == 8
    assert own < 25  # an eighth by chance


def test_hands_strike_when_their_notes_begin_and_lie_still_between_strokes() -> None:
    for number in range(20):
        scene = draw_scene(settings_of(), 3, "test", number)
        for variant, sources in enumerate(scene.variants):
            strokes = dict(zip(scene.classes, scene.strokes(variant, True), strict=True))
            for source in sources:
                assert strokes[source.instrument] == tuple(note.start_s for note in source.notes)
            for player, own in zip(scene.players, strokes.values(), strict=True):
                rest = player.at(-9, own)
                for hand, wrist in enumerate(_wrists(player.side)):
                    for onset in own[hand::2]:
                        assert player.at(onset, own)[wrist] == pytest.approx(rest[wrist])
                        down = player.at(onset + STROKE_S / 2, own)[wrist] - rest[wrist]
                        assert down == pytest.approx([0, STROKE * player.size], abs=1e-9)


def test_hands_are_held_alike_or_as_the_class_that_is_played_has_it() -> None:
    ways: dict[str, dict[int, set[tuple[float, ...]]]] = {"alike": {}, "own": {}}
    for hands, found in ways.items():
        settings = settings_of(players={"hands": hands})
        for number in range(20):
            scene = draw_scene(settings, 3, "train", number)
            for instrument, player in zip(scene.classes, scene.players, strict=True):
                at_rest = player.at(-9, ())[list(_wrists(player.side)), 1]
                height = np.round((at_rest - player.y) / player.size, 6)
                found.setdefault(instrument, set()).add(tuple(height))
    assert len(ways["own"]) == len(set.union(*ways["own"].values())) == 8
    assert len(set.union(*ways["alike"].values())) == 1


def _wrists(side: int) -> tuple[int, int]:
    """The hand that strikes first, and the other."""
    return (RIGHT_HAND, LEFT_HAND) if side > 0 else (LEFT_HAND, RIGHT_HAND)


def test_silent_players_move_to_melodies_of_their_own_or_hold_still() -> None:
    counts: dict[bool, list[int]] = {True: [], False: []}
    first = []
    for number in range(150):
        scene = draw_scene(settings_of(), 3, "train", number)
        heard = {source.instrument for source in scene.variants[0]}
        moving, still = scene.strokes(0, True), scene.strokes(0, False)
        for sounds, strokes, quiet in zip(scene.classes, moving, still, strict=True):
            counts[sounds in heard].append(len(strokes))
            assert quiet == (strokes if sounds in heard else ())
        if len(scene.classes) == 2 and len(heard) == 1:
            first.append(scene.players[0].person == 0)  # the first sprite sounds, any person does
        assert len(set(moving)) == len(moving)
    assert np.mean(counts[True]) == pytest.approx(np.mean(counts[False]), abs=0.4)
    assert np.mean(first) == pytest.approx(0.5, abs=0.2)


def test_videos_of_a_scene_show_the_same_pictures_where_the_silent_move(world: Path, tmp_path: Path) -> None:
    one, two = rows_of(world, "test")
    np.testing.assert_array_equal(pixels(world / one["source"]), pixels(world / two["source"]))
    assert (world / one["keypoints"]).read_bytes() == (world / two["keypoints"]).read_bytes()
    render_world(settings_of("still", train=0), str(tmp_path), seed=5)
    one, two = rows_of(tmp_path, "test")
    moved = [np.ptp(keypoints(tmp_path, row), axis=0).max(axis=(1, 2)) > 1 for row in (one, two)]
    for row, players in zip((one, two), moved, strict=True):
        truth = truth_of(tmp_path, row)
        sounding = {truth["players"][source["sprite"]]["person"] for source in truth["sounding"]}
        assert set(np.flatnonzero(players)) == sounding


def test_keypoints_lie_on_the_hands_that_are_drawn(world: Path) -> None:
    for row in rows_of(world, "train"):
        shown = pixels(world / row["source"]).astype(float)
        points = keypoints(world, row)
        assert points.shape[:2] == (len(shown), len(row["visible"]))
        change = np.abs(np.diff(shown, axis=0)).mean(axis=-1)
        size = shown.shape[1]
        near = np.zeros(change.shape, bool)
        for frame in range(len(change)):
            for at in (frame, frame + 1):
                arms = points[at][:, [*range(5, 11), *range(26, POINTS)]]
                for x, y in np.vstack([arms.reshape(-1, 2), (arms[:, :2] + arms[:, 2:4]).reshape(-1, 2) / 2]):
                    x1, y1 = (max(0, int(value) - 6) for value in (x, y))
                    near[frame, y1 : y1 + 13, x1 : x1 + 13] = True
        strong = change > 50
        assert strong.sum() > 100
        assert (strong & near).sum() > 0.98 * strong.sum()  # nothing else moves
        for frame in range(0, len(shown), 6):  # where a hand is, its colour is
            for wrist in (LEFT_HAND, RIGHT_HAND):
                for x, y in points[frame][:, wrist + 9]:
                    around = shown[frame, int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3].reshape(-1, 3)
                    assert around[:, 0].max() > 130
        assert (points >= 0).all()
        assert (points <= size).all()
        for player, sprite in zip(truth_of(world, row)["players"], truth_of(world, row)["sprites"], strict=True):
            hands = points[:, player["person"], [LEFT_HAND, RIGHT_HAND], 0] / size
            assert (np.abs(hands - (sprite["box"][0] + sprite["box"][2]) / 2) < player["size"] / 2).all()


def test_the_recipe_puts_the_keypoints_of_each_frame_into_the_samples(world: Path) -> None:
    recipe = load_settings(str(RECIPE), ExperimentSettings).settings.prepare
    rows = list(VideoList([str(world / "train.jsonl")]))
    for row, told in zip(rows, rows_of(world, "train"), strict=True):
        (sample,) = prepare_video(row, recipe).samples
        found, drawn = decode_keypoints(sample.files[KEYPOINTS_FILE]), keypoints(world, told) / 128
        for persons, poses in zip(found, drawn, strict=True):
            there = persons[(persons[..., 2] > 0).any(1)]
            np.testing.assert_allclose(there[..., :2], poses, atol=1 / 4096)
            assert (there[..., 2] == 1).all()


def test_strokes_too_short_for_the_frame_rate_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"fps >= 10, so that players' strokes are seen \(it is 8\)"):
        TimbreScenesSettings(players=PlayersSettings())
