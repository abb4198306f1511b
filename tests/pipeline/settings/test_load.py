import pytest
import yaml

from pipeline.errors import SettingsError
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import dump_settings, load_settings
from pipeline.train.run_settings import RunSettings


def write(folder, name: str, /, **content: object) -> str:
    (folder / name).write_text(yaml.safe_dump(content))
    return str(folder / name)


def test_later_bases_win_and_the_file_wins_over_them(tmp_path):
    write(tmp_path, "one.yaml", seed=1, train={"steps": 10, "batch_size": 8})
    write(tmp_path, "two.yaml", train={"steps": 20})
    file = write(tmp_path, "main.yaml", base=["one.yaml", "two.yaml"], train={"learning_rate": 0.5})
    settings = load_settings(file, ExperimentSettings, ["train.batch_size=16"]).settings
    assert (settings.seed, settings.train.steps, settings.train.learning_rate) == (1, 20, 0.5)
    assert settings.train.batch_size == 16


def test_each_value_says_where_it_came_from(tmp_path):
    base = write(tmp_path, "base.yaml", seed=1, train={"steps": 10})
    file = write(tmp_path, "main.yaml", base="base.yaml", train={"batch_size": 8})
    rows = {key: (value, origin) for key, value, origin in load_settings(file, ExperimentSettings, ["seed=4"]).rows()}
    assert rows["seed"] == (4, "override 'seed=4'")
    assert rows["train.steps"] == (10, base)
    assert rows["train.batch_size"] == (8, file)
    assert rows["train.weight_decay"] == (0.01, "default")


def test_written_settings_read_back_the_same(tmp_path):
    settings = load_settings(None, ExperimentSettings, ["model.visual_embedder={kind: patch, patch: 8}"]).settings
    (tmp_path / "c.yaml").write_text(dump_settings(settings))
    assert load_settings(str(tmp_path / "c.yaml"), ExperimentSettings).settings == settings


@pytest.mark.parametrize(
    ("content", "overrides", "message"),
    [
        ({"train": {"stepz": 3}}, [], "main.yaml: train.stepz: no such setting; did you mean 'steps'?"),
        ({"trian": {}}, [], "main.yaml: trian: no such setting; did you mean 'train'?"),
        ({"train": {"steps": "many"}}, [], "main.yaml: train.steps: expected .*integer.*, found 'many'"),
        ({"train": {"precision": "fp8"}}, [], "train.precision: expected 'fp32', 'bf16' or 'fp16', found 'fp8'"),
        ({"train": 3}, [], "main.yaml: train: expected .*, found 3"),
        ({}, ["train.stepz=3"], "override 'train.stepz=3': train has no key 'stepz'; did you mean 'steps'?"),
        ({}, ["train.steps"], "override 'train.steps': expected key.key=value"),
        ({}, ["train.steps=x"], "override 'train.steps=x': train.steps: expected .*integer"),
        ({"base": "bas.yaml"}, [], r"bas.yaml \(a base of .*main.yaml\): no such settings file"),
        ({"base": "main.yaml"}, [], "its bases include it again"),
        ({"model": {"heads": 7}}, [], "model: expected a number of heads that divides width 512, found heads = 7$"),
        ({"model": {"visual_embedder": {"kind": "resnet"}}}, [], "model.visual_embedder: .*'resnet18'"),
        ({"train": {"learning_rate": float("inf")}}, [], "train.learning_rate: expected a finite number, found inf"),
        ({"train": {"steps": True}}, [], "train: expected a number as steps, found true"),
        ({"train": {"zero_stage": True}}, [], "train: expected a number as zero_stage, found true"),
        ({"train": {"activation_checkpointing": False}}, [], "a number as activation_checkpointing, found false"),
        ({"train": {"betas": [2, 3]}}, [], "train.betas.0: expected less than 1, found 2"),
        (
            {"train": {"activation_checkpointing": 0}},
            [],
            "checkpointing: expected 'none', 'full' or 'auto' or greater than 0, ",
        ),
        ({"data": {"train": [{"ur": "a"}]}}, [], "data.train.0.ur: no such setting; did you mean 'url'?"),
        ({"data": {"train": 3}}, [], "data.train: expected a valid string or a valid list, found 3"),
        ({"name": ".."}, [], "name: expected text like .*, found '..'"),
        ({"base": 3}, [], "base: expected a path or a list of paths, found 3"),
        (
            {"model": {"visual_embedder": {"kind": "patch", "pach": 8}}},
            [],
            "pach: no such setting; did you mean 'patch'",
        ),
    ],
)
def test_wrong_settings_end_in_one_sentence_with_the_place(tmp_path, content, overrides, message):
    file = write(tmp_path, "main.yaml", **content)
    with pytest.raises(SettingsError, match=message) as caught:
        load_settings(file, ExperimentSettings, overrides)
    assert "\n" not in str(caught.value)


def laughs(opening: str, closing: str) -> str:
    """A few hundred bytes of aliases of aliases that stand for 9^8 values."""
    lines = ["l0: &l0 {a: 1}"]
    for level in range(1, 9):
        lines.append(f"l{level}: &l{level} {opening}{','.join([f'*l{level - 1}'] * 9)}{closing}")
    return "\n".join(lines)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train:\n  steps: 3\nseed: 1\ntrain:\n  batch_size: 2\n", "a.yaml:4: .*found the key 'train' a second time"),
        ("train: &a\n  health: *a\n", "a.yaml:1: .*found an alias of a part within that part"),
        ("[" * 100_000, "a.yaml:1: .*too deep to read"),
        ("- " * 2000, "a.yaml: .*too deep to read"),
        ("name: a\0b\n", "a.yaml: expected YAML, found unacceptable character"),
        (f"base: {'a' * 5000}\n", "no such settings file"),
        (f"base: {'a/' * 5000}b\n", "no such settings file"),
        ("name: 2024-13-45\n", "a.yaml: expected YAML, found a value that can't be read"),
        (f"seed: {'9' * 5000}\n", "a.yaml: expected YAML, found a value that can't be read"),
        (laughs("[", "]"), "a.yaml:6: expected YAML, found more than 100,000 values"),
        (laughs("{<<: [", "]}"), "a.yaml:6: expected YAML, found more than 100,000 values"),
    ],
)
def test_yaml_that_means_nothing_or_two_things_is_refused(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(SettingsError, match=message) as caught:
        load_settings(str(tmp_path / "a.yaml"), ExperimentSettings)
    assert "\n" not in str(caught.value)


def test_numbers_may_be_written_with_an_exponent_and_names_that_look_like_one_stay_names(tmp_path):
    settings = load_settings(None, ExperimentSettings, ["train.steps=1e6", "name='12e3'"]).settings
    assert settings.train.steps == 1_000_000
    (tmp_path / "c.yaml").write_text(dump_settings(settings))
    assert load_settings(str(tmp_path / "c.yaml"), ExperimentSettings).settings == settings


def test_broken_yaml_and_other_content_are_said_with_file_and_line(tmp_path):
    (tmp_path / "a.yaml").write_text("train:\n  steps: [1\n")
    with pytest.raises(SettingsError, match=r"a.yaml:\d+: expected YAML"):
        load_settings(str(tmp_path / "a.yaml"), ExperimentSettings)
    (tmp_path / "b.yaml").write_text("- 1\n")
    with pytest.raises(SettingsError, match="b.yaml: expected keys with values, found list"):
        load_settings(str(tmp_path / "b.yaml"), ExperimentSettings)


def test_a_missing_file_names_the_nearest(tmp_path):
    write(tmp_path, "gavt_c.yaml")
    with pytest.raises(SettingsError, match="no such settings file; did you mean 'gavt_c.yaml'"):
        load_settings(str(tmp_path / "gavt_d.yaml"), ExperimentSettings)


def test_a_part_reads_its_own_sections_of_what_a_whole_experiment_recorded(tmp_path):
    experiment = load_settings(None, ExperimentSettings, ["seed=3", "prepare.clip_fps=25"]).settings
    config = tmp_path / "config.yaml"
    config.write_text(dump_settings(experiment) + "of_a_later_version:\n  a: 1\n")
    run = load_settings(config, RunSettings, recorded=True).settings
    assert run.model_dump() == experiment.model_dump(include=set(RunSettings.model_fields))
    with pytest.raises(SettingsError, match="config.yaml: .*: no such setting"):
        load_settings(config, RunSettings)
    config.write_text("train:\n  stepz: 3\n")
    with pytest.raises(SettingsError, match="train.stepz: no such setting; did you mean 'steps'"):
        load_settings(config, RunSettings, recorded=True)


def test_what_is_misspelt_in_one_of_a_list_is_told_with_what_its_kind_knows(tmp_path):
    file = write(tmp_path, "main.yaml", evaluate={"measures": [{"kind": "probe", "neighbors": 3}]})
    with pytest.raises(SettingsError, match=r"evaluate\.measures\.0\.neighbors: .*; did you mean 'neighbours'"):
        load_settings(file, ExperimentSettings)
