"""What holds for every kind of world."""

from pathlib import Path

import numpy as np
import pytest
from rendered_world import contents, pixels, rows_of

from pipeline.errors import SynthError
from pipeline.experiment import ExperimentSettings
from pipeline.prepare.manifests.read import VideoList
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.video_samples import prepare_video
from pipeline.samples.metadata import SampleMetadata
from pipeline.settings.load import load_settings
from pipeline.video.clip import decode_clip
from pipeline.worlds.settings import WORLDS, WorldSettings
from pipeline.worlds.world import render_world

CONFIGS = Path(__file__).parents[3] / "configs" / "data"


def settings_of(kind: str, **values: int) -> WorldSettings:
    found = WORLDS.settings_of(kind)
    assert found is not None
    return found.model_validate({"kind": kind, "validation": 0, **values})


@pytest.mark.parametrize("kind", WORLDS.names())
def test_a_world_of_any_kind_that_goes_on_ends_with_the_bytes_of_one_made_at_once(kind: str, tmp_path: Path) -> None:
    render_world(settings_of(kind, train=2, test=1), str(tmp_path / "whole"), seed=3)
    begun = tmp_path / "begun"
    render_world(settings_of(kind, train=1, test=1), str(begun), seed=3)
    next((begun / "videos/test").glob("*.mp4")).unlink()
    summary = render_world(settings_of(kind, train=2, test=1), str(begun), seed=3)
    assert summary.kept > 0
    assert contents(begun) == contents(tmp_path / "whole")
    with pytest.raises(SynthError, match=r"begun: holds a world with seed = 3, asked was 4"):
        render_world(settings_of(kind, train=1, test=1), str(begun), seed=4)
    other = next(name for name in WORLDS.names() if name != kind)
    with pytest.raises(SynthError, match=f"synth.kind = {kind}, asked was {other}"):
        render_world(settings_of(other, train=1, test=1), str(begun), seed=3)


def prepared(kind: str, world: Path) -> tuple[PrepareSettings, list[tuple[SampleMetadata, dict[str, bytes]]]]:
    """The test split of a world, by the recipe of its configuration."""
    recipe = load_settings(str(CONFIGS / f"{kind}.yaml"), ExperimentSettings).settings.prepare
    render_world(settings_of(kind, train=0, test=1), str(world), seed=3)
    lists = [str(path) for path in sorted(world.glob("test*.jsonl"))]
    samples = [sample for row in VideoList(lists) for sample in prepare_video(row, recipe).samples]
    return recipe, [(SampleMetadata.model_validate_json(sample.files["json"]), sample.files) for sample in samples]


def test_clips_of_sync_movers_have_the_worlds_frames_and_the_movers_envelope(tmp_path: Path) -> None:
    _, samples = prepared("sync_movers", tmp_path)
    rows = [*rows_of(tmp_path, "test"), *rows_of(tmp_path, "test_off_screen")]
    for row, (metadata, files) in zip(rows, samples, strict=True):
        assert (metadata.video, metadata.layout, metadata.fps) == (row["video"], "clip", 12)
        assert [list(box) for box in metadata.boxes or []] == row["boxes"]
        shown, own = np.stack(list(decode_clip(files["mp4"]))), pixels(tmp_path / row["source"])
        assert shown.shape == own.shape
        assert np.abs(shown.astype(float) - own).mean() < 4
        assert np.abs(shown[1:].astype(float) - own[:-1]).mean() > np.abs(shown.astype(float) - own).mean()


def test_samples_of_event_strips_have_a_frame_of_each_segment_and_all_that_is_known_of_it(tmp_path: Path) -> None:
    _, samples = prepared("event_strips", tmp_path)
    ((metadata, files),) = samples
    (row,) = rows_of(tmp_path, "test")
    assert metadata.frame_times_s == [place + 0.5 for place in range(10)]
    assert sum(name.endswith(".jpg") for name in files) == 10
    assert metadata.segment_labels == row["segment_labels"]
    assert metadata.segment_heard == row["segment_heard"]
    assert metadata.segment_visible == row["segment_visible"]
    assert [[list(box) for box in boxes] for boxes in metadata.segment_boxes or []] == row["segment_boxes"]
    assert [list(box) for box in metadata.boxes or []] == row["segment_boxes"][5]
