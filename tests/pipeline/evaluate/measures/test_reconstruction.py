"""How well hidden parts are rebuilt, beside who has no model, and the picture of it."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image

from pipeline.evaluate.evaluate import evaluate
from pipeline.evaluate.measures.reconstruction import PICTURE, nearest_visible
from pipeline.evaluate.registry import AlignmentSettings, ReconstructionSettings
from pipeline.evaluate.report.report import write_report
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.models.contract import TokenGrid
from pipeline.tasks.masked_modelling_settings import MaskedModellingSettings
from tiny_run import located_rows, tiny_experiment, write_run, write_shards

SAMPLES = 10


@pytest.fixture(scope="module", params=[True, False], ids=["patterns", "levels"])
def judged(request, tmp_path_factory):
    """What an evaluation says of a model with random weights, and the folder of its run."""
    folder = tmp_path_factory.mktemp("reconstruction")
    shards = write_shards(folder / "shards", located_rows(SAMPLES))
    task = MaskedModellingSettings(normalised=request.param)
    run = write_run(folder / "run", tiny_experiment(shards).model_copy(update={"task": task}))
    settings = EvaluateSettings(batch_size=4, measures=(ReconstructionSettings(),))
    return evaluate(run, shards, None, run, settings), folder / "run"


def test_the_model_stands_beside_the_mean_the_nearest_cell_and_another_samples_modality(judged):
    ((table,), samples) = judged[0]["tables"], judged[0]["samples"]
    assert table["samples"] == samples == SAMPLES
    rows = {row["name"]: row["values"] for row in table["rows"]}
    assert [row["kind"] for row in table["rows"]] == ["model", "control", "control", "control"]
    for name in ("visual", "audio"):
        values = [values[name] for values in rows.values()]
        assert len(set(values)) == len(values)
        assert min(values) > 0
        # noise has no neighbours that are like it: their difference has twice the variance
        assert rows["nearest visible cell"][name] > 1.2 * rows["mean of what is visible"][name]
    if "own deviation" in table["notes"][0]:
        assert rows["mean of what is visible"]["visual"] == pytest.approx(1, abs=1e-3)
    shares = [1 - rows["model"][name] / rows["mean of what is visible"][name] for name in ("visual", "audio")]
    assert [headline["value"] for headline in table["headlines"]] == pytest.approx(shares)


def test_the_picture_has_eight_samples_and_is_on_the_reports_page(judged):
    folder = judged[1]
    width, height = Image.open(io.BytesIO((folder / PICTURE).read_bytes())).size
    assert width > 6 * 112
    assert 8 * 112 < height < 9 * 112
    page = Path(write_report(str(folder))).read_text()
    assert "data:image/png;base64," in page
    assert "what is seen and heard, what of it is visible, and what the model makes of it" in page


def test_of_an_objective_that_hides_nothing_it_is_said_to_be_left_out(tmp_path):
    shards = write_shards(tmp_path / "shards", located_rows(4))
    run = write_run(tmp_path / "run", tiny_experiment(shards))
    asked = (AlignmentSettings(), ReconstructionSettings())
    result = evaluate(run, shards, None, run, EvaluateSettings(measures=asked))
    (sentence,) = result["left_out"]
    assert sentence == (
        "reconstruction is left out: it needs a model that was trained by masked modelling, found task.kind = mma"
    )


def test_the_nearest_visible_token_is_found_in_all_directions():
    grid = TokenGrid((("row", 3), ("column", 4)))
    hidden = torch.ones(1, 12)
    hidden[0, [1, 11]] = 0  # first row, second column; last row, last column
    assert nearest_visible(hidden, grid).tolist() == [[1, 1, 1, 1, 1, 1, 1, 11, 1, 1, 11, 11]]
