"""Where the values of maps lie in the frame: evenly, or at the centres of the tokens that they are of."""

from pathlib import Path

import numpy as np
import pytest
from test_controls import read

from pipeline.evaluate.evaluate import evaluate
from pipeline.evaluate.measures.choice import choose, count_hits
from pipeline.evaluate.measures.contract import Table, tables_of
from pipeline.evaluate.metrics.ground_truth import Mask
from pipeline.evaluate.metrics.resize import Centres, Map, resize_map, resize_seen
from pipeline.evaluate.overlay.overlay import lay_heat
from pipeline.evaluate.readouts.build import build_readout, placements
from pipeline.evaluate.report.gallery import make_gallery
from pipeline.evaluate.result import Evaluation, placement_of
from pipeline.evaluate.samples import EvaluationBatch
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.models.settings import ConvolutionEmbedderSettings
from pipeline.train.load import untrained
from tiny_run import located_rows, tiny_experiment, write_shards

WHOLE = (0.0, 0.0, 1.0, 1.0)
SHIFTED = Centres(
    tuple((0.5 + 8 * token) / 32 for token in range(4)), tuple((0.5 + 8 * token) / 32 for token in range(4))
)
"""Of 3×3 convolutions over 32 pixels."""


def localisation(result: Evaluation) -> Table:
    return next(table for table in tables_of(result) if table.measure == "localisation")


def test_even_centres_are_where_bilinear_resizing_has_its_cells() -> None:
    maps = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    even = Centres.even(4, 5)
    assert even.are_even
    assert not SHIFTED.are_even
    for size in (3, 31, (56, 40)):
        assert np.allclose(resize_map(maps, size), resize_map(maps, size, centres=even), atol=1e-6)


def test_a_map_is_what_lies_between_the_centres_of_its_values() -> None:
    rows, columns = np.array(SHIFTED.rows), np.array(SHIFTED.columns)
    slope = (3 * rows[:, None] - 2 * columns[None, :]).astype(np.float32)
    placed = resize_map(slope, 32, centres=SHIFTED)
    pixels = (np.arange(32) + 0.5) / 32
    reached = pixels.clip(rows[0], rows[-1])  # beside the outermost value it goes on as it is
    assert np.allclose(placed, 3 * reached[:, None] - 2 * reached[None, :], atol=1e-6)
    peak = np.zeros((4, 4))
    peak[2, 1] = 1
    assert np.unravel_index(resize_map(peak, 32, centres=SHIFTED).argmax(), (32, 32)) == (16, 8)
    assert resize_map(np.ones((1, 1)), 4, centres=Centres((0.3,), (0.2,))).tolist() == np.ones((4, 4)).tolist()


def test_centres_lie_in_the_square_that_the_model_saw() -> None:
    """Of which bars are not judged."""
    peak = np.zeros((4, 4))
    peak[1, 1] = 1
    seen = resize_seen(peak, (0.0, -0.5, 1.0, 1.5), 32, centres=SHIFTED)  # the frame is the middle half of its height
    row, column = np.unravel_index(seen.argmax(), seen.shape)
    assert (row, column) == (0, 8)  # 17 of 64, of which the first 16 lie over bars; the pixels beside it are equal


@pytest.mark.parametrize("right", ["even", "centres"])
def test_the_validation_split_chooses_where_the_values_of_each_readout_lie(right: str, tmp_path: Path) -> None:
    """Of maps that are the truth, seen at either places."""
    batch = read(write_shards(tmp_path / "shards", located_rows(8)))
    settings = EvaluateSettings()
    places = {"even": None, "centres": SHIFTED}

    def truth_at(name: str, batch: EvaluationBatch) -> Map:
        found = SHIFTED if right == "centres" else Centres.even(4, 4)
        truths = np.stack([truth for truth in batch.truths if truth is not None]).astype(np.float32)
        rows, columns = ((np.array(one).clip(0, 1) * 223).round().astype(int) for one in (found.rows, found.columns))
        blurred = resize_map(resize_map(truths, 16), 224)
        return blurred[:, rows][:, :, columns]

    may = {"attention": places, "integrated_gradients": {"even": None}}
    hits = count_hits([batch.select(range(4)), batch.select(range(4, 8))], may, settings, truth_at)
    choice = choose([hits, hits], may, "attention", settings)
    assert choice.placement == {"attention": right, "integrated_gradients": "even"}
    assert set(choice.overlap) == {"attention"}  # whose place is a question
    overlap = choice.overlap["attention"]
    assert overlap[right] == max(overlap.values()) > 1.3 * min(overlap.values())
    assert choice.localised.keys() == may.keys()
    assert choice.pointing["attention"] >= hits.pointed["attention"]["even" if right == "centres" else "centres"] / 8
    assert choose([], may, "attention", settings).placement["attention"] == "even"


def test_a_readout_whose_maps_have_the_right_extent_is_chosen_before_one_that_only_points(tmp_path: Path) -> None:
    batch = read(write_shards(tmp_path / "shards", located_rows(8)))

    def points_only(truth: Mask) -> Map:
        heat = np.zeros(truth.shape, dtype=np.float32)
        rows, columns = np.nonzero(truth)
        heat[rows[0], columns[0]] = 2
        heat[~truth] = 1  # and nothing else of it is inside
        return heat

    def maps(name: str, batch: EvaluationBatch) -> Map:
        truths = [truth for truth in batch.truths if truth is not None]
        return np.stack([points_only(truth) if name == "attention" else truth.astype(np.float32) for truth in truths])

    may = {"attention": {"even": None}, "similarity": {"even": None}}
    hits = count_hits([batch], may, EvaluateSettings(), maps)
    choice = choose([hits], may, "attention", EvaluateSettings())
    assert choice.pointing["attention"] == choice.pointing["similarity"]  # of which the first would be taken
    assert choice.localised["attention"] < choice.localised["similarity"]
    assert choice.readout == "similarity"


def test_a_readout_knows_where_its_values_may_lie() -> None:
    def may(readout: str, **changes: object) -> dict[str, Centres | None]:
        experiment = tiny_experiment()
        embedder = ConvolutionEmbedderSettings(widths=(8, 16, 16, 16), **changes.pop("embedder", {}))
        model = experiment.model.model_copy(update={"visual_embedder": embedder})
        system = untrained(experiment.model_copy(update={"model": model}), "cpu", 0)
        settings = EvaluateSettings.model_validate(changes)
        return placements(build_readout(readout, settings), system, settings)

    assert may("attention") == {"even": None, "centres": SHIFTED}
    assert may("attention", placement="centres") == {"centres": SHIFTED}
    assert may("attention", placement="even") == {"even": None}
    assert may("integrated_gradients", placement="centres") == {"even": None}  # over pixels
    assert may("attention", placement="centres", embedder={"kernel": 4}) == {"even": None}  # has no shift
    centred = may("attention", embedder={"padding": "centred"})["centres"]
    assert centred is not None
    assert centred.rows[0] == 4.5 / 32


def test_figures_examples_and_pages_have_maps_at_the_same_places(
    run: str, located_shards: str, validation_shards: str, tmp_path: Path
) -> None:
    few = EvaluateSettings(readouts=("attention", "integrated_gradients"), examples=2)
    results = {}
    for placement in ("even", "centres", "measured"):
        settings = few.model_copy(update={"placement": placement})
        results[placement] = evaluate(run, located_shards, validation_shards, str(tmp_path / placement), settings)
    rows = {name: {row.name: row for row in localisation(result).rows} for name, result in results.items()}
    assert rows["even"]["attention"] != rows["centres"]["attention"]
    assert rows["even"]["integrated_gradients"] == rows["centres"]["integrated_gradients"]
    details = localisation(results["measured"]).details
    better = details["placement"]["attention"]
    overlap = details["validation_overlap"]["attention"]
    assert overlap[better] == max(overlap.values())
    assert set(overlap) == {"even", "centres"}
    assert rows["measured"]["attention"] == rows[better]["attention"]
    assert placement_of(results["centres"], "attention") == "centres"
    assert placement_of(results["centres"], "integrated_gradients") == "even"
    assert placement_of({}, "attention") is None
    assert "attention lie at the centres of the tokens" in localisation(results["centres"]).notes[0]
    assert "centres of the tokens" not in localisation(results["even"]).notes[0]


def test_the_report_lays_maps_where_the_figures_had_them(run: str, located_shards: str, tmp_path: Path) -> None:
    pictures = {}
    for placement in ("even", "centres"):
        settings = EvaluateSettings(readouts=("attention",), examples=2, placement=placement)
        evaluate(run, located_shards, None, str(tmp_path / placement), settings)
        with np.load(tmp_path / placement / "evaluation_maps.npz") as examples:
            arrays = dict(examples)
        pictures[placement] = make_gallery([("run", arrays)]).files
        if placement == "centres":
            assert arrays["rows"][0].tolist() == list(SHIFTED.rows)
            assert arrays["columns"][1].tolist() == list(SHIFTED.columns)
        else:
            assert arrays["rows"][0].tolist() == list(Centres.even(4, 4).rows)
    even, centres = pictures.values()
    assert {name for name in even if even[name] != centres[name]} == {"00000-map-0.jpg", "00001-map-0.jpg"}


def test_heat_is_laid_where_the_values_lie() -> None:
    pixels = np.full((32, 32, 3), 100, dtype=np.uint8)
    heat = np.random.default_rng(0).random((4, 4)).astype(np.float32)
    placed = lay_heat(pixels, heat, WHOLE, centres=SHIFTED)
    assert np.array_equal(placed, lay_heat(pixels, resize_map(heat, 32, centres=SHIFTED), WHOLE))
    assert not np.array_equal(placed, lay_heat(pixels, heat, WHOLE))
