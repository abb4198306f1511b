import dataclasses

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.worlds.finishes import FINISHES, HELD_OUT
from pipeline.worlds.instruments import INSTRUMENTS, NAMES
from pipeline.worlds.settings import SPLITS
from pipeline.worlds.shapes import SHAPES
from pipeline.worlds.sound import LOUDEST, mix, render_stems
from pipeline.worlds.timbre_scenes.scene import Scene, draw_scene
from pipeline.worlds.timbre_scenes.settings import TimbreScenesSettings
from pipeline.worlds.timbre_scenes.world import picture_of

EASY = TimbreScenesSettings()
HARD = TimbreScenesSettings(difficulty="hard")


def scenes(settings: TimbreScenesSettings, split: str, count: int, seed: int = 3) -> list[Scene]:
    return [draw_scene(settings, seed, split, number) for number in range(count)]  # type: ignore[arg-type]


def test_a_scene_depends_on_seed_split_and_number_alone() -> None:
    assert draw_scene(EASY, 5, "test", 17) == draw_scene(EASY, 5, "test", 17)
    more = EASY.model_copy(update={"train": 7, "test": 9})
    assert draw_scene(EASY, 5, "test", 17) == draw_scene(more, 5, "test", 17)
    others = [draw_scene(EASY, 6, "test", 17), draw_scene(EASY, 5, "train", 17), draw_scene(EASY, 5, "test", 18)]
    assert all(draw_scene(EASY, 5, "test", 17).sprites != other.sprites for other in others)


def test_the_hard_world_is_the_easy_one_in_other_colours() -> None:
    for easy, hard in zip(scenes(EASY, "train", 20), scenes(HARD, "train", 20), strict=True):
        assert [dataclasses.replace(sprite, colour=(0, 0, 0)) for sprite in easy.sprites] == [
            dataclasses.replace(sprite, colour=(0, 0, 0)) for sprite in hard.sprites
        ]
        assert easy.variants == hard.variants
        assert easy.background == hard.background


@pytest.mark.parametrize("split", SPLITS)
def test_classes_are_distinct_and_what_sounds_is_seen(split: str) -> None:
    for scene in scenes(EASY, split, 200):
        seen = [sprite.instrument for sprite in scene.sprites]
        assert len(set(seen)) == len(seen) <= 5
        sounding = [source.instrument for sources in scene.variants for source in sources]
        assert set(sounding) <= set(seen)
        assert all(1 <= len(sources) <= 2 for sources in scene.variants)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_group_sounds_disjoint_sets_over_at_least_two_instruments(split: str) -> None:
    for scene in scenes(EASY, split, 200):
        one, two = ({source.instrument for source in sources} for sources in scene.variants)
        assert one
        assert two
        assert not one & two
        assert len(scene.sprites) >= 2


def test_squares_lie_in_the_frame_and_apart_even_when_crowded() -> None:
    crowded = TimbreScenesSettings(silent_weights={6: 1.0}, sounding_weights={2: 1.0})
    for scene in [*scenes(EASY, "train", 100), *scenes(crowded, "train", 20)]:
        for sprite in scene.sprites:
            assert sprite.size / 2 <= min(sprite.x, sprite.y) + 1e-4
            assert max(sprite.x, sprite.y) <= 1 - sprite.size / 2 + 1e-4
            for other in scene.sprites:
                if other is not sprite:
                    apart = max(abs(sprite.x - other.x), abs(sprite.y - other.y))
                    assert apart > (sprite.size + other.size) / 2


def test_numbers_of_instruments_follow_the_weights() -> None:
    drawn = scenes(EASY, "train", 1500)
    sounding = np.bincount([len(scene.variants[0]) for scene in drawn], minlength=3) / len(drawn)
    silent = np.bincount([len(s.sprites) - len(s.variants[0]) for s in drawn], minlength=4) / len(drawn)
    assert sounding[1:] == pytest.approx([0.8, 0.2], abs=0.04)
    assert silent == pytest.approx([0.1, 0.2, 0.4, 0.3], abs=0.05)


def test_position_and_size_say_nothing_about_class_or_sounding() -> None:
    drawn = [
        (sprite.instrument, sprite.instrument in {s.instrument for s in scene.variants[0]}, sprite)
        for scene in scenes(EASY, "train", 1500)
        for sprite in scene.sprites
    ]
    crowds = np.array([[sprite.x, sprite.y, sprite.size] for _, _, sprite in drawn])
    for number in range(len(INSTRUMENTS)):
        own = crowds[[instrument == number for instrument, _, _ in drawn]]
        error = crowds.std(axis=0) / np.sqrt(len(own))
        assert np.abs(own.mean(axis=0) - crowds.mean(axis=0)).max() < (4 * error).max()
    # sizes shrink with the number of instruments, and a sounding one has less company on average: place only
    places = crowds[:, :2]
    loud = places[[sounds for _, sounds, _ in drawn]]
    assert np.abs(loud.mean(axis=0) - 0.5).max() < 4 * places.std() / np.sqrt(len(loud))
    assert np.abs(loud.std(axis=0) - places.std(axis=0)).max() < 0.02


def test_held_out_finishes_are_worn_in_the_test_split_only() -> None:
    worn = {
        split: {(sprite.instrument, sprite.finish) for scene in scenes(EASY, split, 400) for sprite in scene.sprites}
        for split in SPLITS
    }
    held_out = {(number, finish) for number, finish in enumerate(HELD_OUT)}
    everything = {(number, finish) for number in range(len(INSTRUMENTS)) for finish in FINISHES}
    assert worn["train"] == worn["validation"] == everything - held_out
    assert worn["test"] == everything


def test_colour_tells_the_class_in_the_easy_world_and_nothing_in_the_hard_one() -> None:
    hues = np.array([instrument.hue for instrument in INSTRUMENTS])

    def hits(settings: TimbreScenesSettings) -> float:
        found = []
        for scene in scenes(settings, "train", 300):
            for sprite in scene.sprites:
                distance = np.abs((hues - sprite.colour[0] + 0.5) % 1 - 0.5)
                found.append(int(distance.argmin()) == sprite.instrument)
        return float(np.mean(found))

    assert hits(EASY) > 0.99
    assert hits(HARD) == pytest.approx(1 / 8, abs=0.05)


def test_a_template_of_the_silhouette_tells_the_classes_apart() -> None:
    """Nearest silhouette by overlap, at 24 × 24 points, over tilted and resized instruments of the hard world."""
    x, y = np.meshgrid(*[np.linspace(-1.3, 1.3, 128, dtype=np.float32)] * 2)
    turns = [(np.cos(angle), np.sin(angle)) for angle in np.radians([-12, -4, 4, 12])]
    turned = [(np.float32(c) * x + np.float32(s) * y, np.float32(c) * y - np.float32(s) * x) for c, s in turns]
    templates = np.stack([_centred(SHAPES[name](*grid)[0]) for name in NAMES for grid in turned])
    hits = []
    for scene in scenes(HARD, "train", 60):
        picture = picture_of(scene, 128)
        for place, sprite in enumerate(scene.sprites):
            seen = _centred(picture.mask([place]) > 0)
            overlap = (templates & seen).sum(axis=(1, 2)) / (templates | seen).sum(axis=(1, 2))
            hits.append(int(overlap.argmax()) // len(turned) == sprite.instrument)
    assert np.mean(hits) > 0.98


def test_boxes_are_the_tight_boxes_of_the_masks() -> None:
    for scene in scenes(EASY, "test", 40):
        picture = picture_of(scene, 128)
        for place, sprite in enumerate(scene.sprites):
            mask = picture.mask([place])
            assert set(np.unique(mask)) == {0, place + 1}
            x1, y1, x2, y2 = (round(edge * 128) for edge in picture.box(place))
            assert mask[y1:y2, x1:x2].astype(bool).sum() == mask.astype(bool).sum()
            for line in (mask[y1, x1:x2], mask[y2 - 1, x1:x2], mask[y1:y2, x1], mask[y1:y2, x2 - 1]):
                assert line.any()
            half = sprite.size / 2 + 1 / 128
            assert sprite.x - half <= x1 / 128 < x2 / 128 <= sprite.x + half
            assert sprite.y - half <= y1 / 128 < y2 / 128 <= sprite.y + half


def test_stems_sum_to_the_mixture_within_full_scale() -> None:
    for scene in scenes(EASY, "test", 20):
        for sources in scene.variants:
            stems = render_stems(sources, 22050, 2.0)
            assert stems.shape == (len(sources), 44100)
            total = stems.astype(np.int64).sum(axis=0)
            np.testing.assert_array_equal(mix(stems), total)
            assert np.abs(total).max() <= LOUDEST * 32767 + len(sources)


def test_no_middle_stretch_of_the_sound_is_silent() -> None:
    for scene in scenes(EASY, "train", 40):
        for stem in render_stems(scene.variants[0], 22050, 2.0):
            pieces = stem[: 8 * 5512].reshape(8, -1).astype(float) / 32768
            assert np.sqrt((pieces**2).mean(axis=1)).min() > 1e-4
        for source in scene.variants[0]:
            assert source.notes[0].start_s <= 0
            assert source.notes[-1].end_s >= 1.9


def test_spectrum_tells_the_timbres_apart() -> None:
    """Nearest class mean of the mean log-spectrum over 1.5 s; pitch ranges overlap, so it is timbre that is read."""
    settings = TimbreScenesSettings(sounding_weights={1: 1.0})

    def spectra(split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
        found, classes = [], []
        for scene in scenes(settings, split, count):
            sound = mix(render_stems(scene.variants[0], 22050, 2.0))[5512 : 5512 + 33024] / 32768
            windows = sound.reshape(-1, 1032)[:, :1022] * np.hanning(1022)
            found.append(np.log(np.abs(np.fft.rfft(windows)).clip(1e-3)).mean(axis=0))
            classes.append(scene.variants[0][0].instrument)
        return np.array(found), np.array(classes)

    known, labels = spectra("train", 400)
    asked, answers = spectra("validation", 120)
    mean, spread = known.mean(axis=0), known.std(axis=0)
    known, asked = (known - mean) / spread, (asked - mean) / spread
    weights = np.linalg.solve(known.T @ known + 30 * np.eye(known.shape[1]), known.T @ np.eye(8)[labels])
    assert np.mean((asked @ weights).argmax(axis=1) == answers) > 0.93


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"sounding_weights": {0: 1.0}}, "at least 1 sounding"),
        ({"silent_weights": {}}, "silent_weights with at least one positive weight"),
        ({"sounding_weights": {5: 1.0}, "silent_weights": {4: 1.0}}, "at most 8 instruments"),
        ({"min_size": 0.4, "max_size": 0.3}, "min_size <= max_size"),
        ({"audio_rate_hz": 8000}, "22050 or 44100"),
        ({"frame_size": 65}, "multiple of 2"),
    ],
)
def test_settings_that_no_scene_fits_are_refused(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        TimbreScenesSettings.model_validate(wrong)


def _centred(mask: np.ndarray) -> np.ndarray:
    """The mask's own box, stretched to 24 × 24."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    pick_rows = np.linspace(rows[0], rows[-1], 24).round().astype(int)
    pick_columns = np.linspace(columns[0], columns[-1], 24).round().astype(int)
    return mask[np.ix_(pick_rows, pick_columns)]
