"""All ways to read a model's attention, judged and drawn beside each other."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.cli import main
from pipeline.errors import SettingsError
from pipeline.evaluate.evaluate import evaluate
from pipeline.evaluate.measures.contract import tables_of
from pipeline.evaluate.readouts.attention_sweep import looks_at
from pipeline.evaluate.registry import AttentionSweepSettings, LocalisationSettings, all_measures
from pipeline.evaluate.report.report import write_report
from pipeline.evaluate.settings import AttentionSettings, EvaluateSettings
from pipeline.experiment import ExperimentSettings
from pipeline.models.gavt import Gavt
from pipeline.train.load import untrained
from tiny_run import tiny_experiment, write_run

SWEEP = EvaluateSettings(
    measures=(AttentionSweepSettings(samples=3, beside=("gradient_weighted",)),), map_size=32, max_samples=8
)


def test_looks_are_directions_by_layers_and_single_heads() -> None:
    names = [look.name for look in looks_at(untrained(tiny_experiment(), "cpu", 0), 1e-4)]
    assert len(names) == len(set(names)) == 5 * 4 + 2
    assert names[:4] == [f"audio to visual, {one}" for one in ("layer 1", "layer 2", "mean of layers", "rollout")]
    assert names[-2:] == ["audio to visual, layer 1, head 0", "audio to visual, layer 1, head 1"]


def test_of_a_deep_model_a_few_layers_are_looked_at_the_last_two_among_them() -> None:
    deep = tiny_experiment()
    deep = deep.model_copy(update={"model": deep.model.model_copy(update={"layers": 9})})
    looks = looks_at(untrained(deep, "cpu", 0), 1e-4)
    layers = {look.settings.layer for look in looks}
    assert layers == {1, 4, 8, 9, "mean", "rollout"}


def test_a_row_has_the_figures_of_the_readout_with_its_settings(run: str, located_shards: str, tmp_path: Path) -> None:
    swept = {row.name: row for row in tables_of(evaluate(run, located_shards, None, str(tmp_path), SWEEP))[0].rows}
    assert len(swept) == 3 * 22 + 1 + 2
    for chosen, words in (
        (AttentionSettings(layer=2, direction="both"), "both directions, layer 2"),
        (AttentionSettings(layer="mean", perspective="class"), "class to visual, mean of layers"),
        (AttentionSettings(layer=1, heads=1), "audio to visual, layer 1, head 1"),
    ):
        alone = EvaluateSettings(
            measures=(LocalisationSettings(),),
            attention=chosen,
            readouts=("attention", "attention_silence", "attention_noise", "gradient_weighted"),
            map_size=SWEEP.map_size,
            max_samples=SWEEP.max_samples,
        )
        rows = {row.name: row for row in tables_of(evaluate(run, located_shards, None, str(tmp_path), alone))[0].rows}
        beside = {"gradient_weighted": "gradient_weighted", "centre disc": "centre disc"}
        priors = {"attention": "", "attention_silence": ", over silence", "attention_noise": ", over noise"}
        for theirs, ours in (beside | {name: words + prior for name, prior in priors.items()}).items():
            assert swept[ours].values == {name: rows[theirs].values[name] for name in swept[ours].values}, ours
            assert swept[ours].cost == rows[theirs].cost
    assert swept["class to visual, layer 2"].details["attention"]["perspective"] == "class"


def test_the_model_encodes_once_for_each_sound_whatever_the_number_of_rows(
    run: str, located_shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: Counter[str] = Counter()
    embed, fuse = Gavt.embed, Gavt.fuse

    def embedding(self: Gavt, inputs: Any) -> Any:
        done.update(list(inputs))
        return embed(self, inputs)

    def fusing(self: Gavt, *words: Any, **named: Any) -> Any:
        done["fused"] += 1
        return fuse(self, *words, **named)

    monkeypatch.setattr(Gavt, "embed", embedding)
    monkeypatch.setattr(Gavt, "fuse", fusing)
    alone = EvaluateSettings(measures=(AttentionSweepSettings(beside=()),), map_size=32, max_samples=4)
    evaluate(run, located_shards, None, str(tmp_path), alone)
    assert done == {"frames": 1, "sound": 3, "fused": 3}


def test_maps_of_a_few_samples_are_drawn_beside_their_figures_and_on_the_page(
    run: str, located_shards: str, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", run, "--data", located_shards, "--sweep", "attention", "--json"]
    words += ["-s", "evaluate.map_size=32", "-s", "evaluate.max_samples=4"]
    words += ["-s", "evaluate.measures=[{kind: attention_sweep, samples: 3, beside: [gradient_weighted]}]"]
    with pytest.raises(SystemExit, match="0"):
        main(words)
    said = capfd.readouterr()
    result = json.loads(said.out.splitlines()[-1])
    assert [table["measure"] for table in result["tables"]] == ["attention_sweep"]
    assert "passes a map" in said.err
    assert "audio to visual, rollout, over silence" in said.err
    assert "flattered" in said.err
    written = {path.name for path in Path(run).iterdir()}
    assert {"attention_sweep.json", "attention_sweep.npz", "attention_sweep.png"} <= written
    assert "evaluation.json" not in written  # which another evaluation may have filled
    with np.load(Path(run, "attention_sweep.npz")) as arrays:
        assert arrays["maps"].shape == (3, 23, 3, 4, 4)
        assert np.isnan(arrays["maps"][:, -1, 1:]).all()
        assert np.isfinite(arrays["maps"][:, :-1]).all()
        assert arrays["truths"].any((1, 2)).all()
    picture = Image.open(Path(run, "attention_sweep.png"))
    assert picture.height > 23 * 64
    page = Path(write_report(run)).read_text()
    assert ">ways to read attention</h3>" in page
    assert "data:image/png;base64," in page
    assert "class to visual, layer 2, over noise" in page


def test_without_boxes_the_maps_are_drawn_all_the_same(run: str, unlabelled_shards: str, tmp_path: Path) -> None:
    (table,) = tables_of(evaluate(run, unlabelled_shards, None, str(tmp_path), SWEEP))
    assert table.rows == ()
    assert "has no boxes" in table.notes[0]
    with np.load(tmp_path / "attention_sweep.npz") as arrays:
        assert arrays["maps"].shape[:3] == (3, 23, 3)
        assert not arrays["truths"].any()


def test_readouts_that_a_model_has_stand_beside_and_others_only_where_they_were_named(
    run: str, located_shards: str, tmp_path: Path
) -> None:
    mixing = {"task": {"kind": "mix_and_separate", "widths": [4, 4], "components": 2, "pool": "mean"}}
    task = {"kind": "several", "tasks": {"mixing": mixing, "contrast": {"task": {"kind": "dense_contrastive"}}}}
    settings = ExperimentSettings.model_validate(tiny_experiment().model_dump(mode="json") | {"task": task})
    both = write_run(tmp_path / "both", settings)
    default, named = AttentionSweepSettings(), AttentionSweepSettings(beside=("gradient_weighted", "separation_energy"))
    objectives = {"similarity", "separation_energy"}
    for of, sweep, expected, lacking in (
        (both, default, objectives, set()),
        (run, default, {"gradient_weighted", "integrated_gradients"}, set()),
        (run, named, {"gradient_weighted"}, {"separation_energy"}),
    ):
        evaluating = EvaluateSettings(measures=(sweep,), map_size=32, max_samples=4)
        (table,) = tables_of(evaluate(of, located_shards, None, str(tmp_path), evaluating))
        assert {row.name for row in table.rows} & {*default.beside} == expected
        assert {note.split()[1] for note in table.notes if "is left out" in note} == lacking


def test_a_model_without_attention_is_refused_in_a_sentence(
    run: str, located_shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gavt, "attention_layers", 0)
    with pytest.raises(SettingsError, match="attention_sweep is left out: the model gives no attention"):
        evaluate(run, located_shards, None, str(tmp_path), SWEEP)


def test_it_is_judged_where_it_is_asked_for_only() -> None:
    assert AttentionSweepSettings not in {type(one) for one in all_measures()}
    (alone,) = EvaluateSettings().only(AttentionSweepSettings).measures or ()
    assert alone == AttentionSweepSettings()
