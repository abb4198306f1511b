"""Kinds of a part of the settings: told by `kind`, checked by the kind's own class, added by others' modules."""

import subprocess
import sys

import pytest
import yaml

from pipeline.errors import SettingsError
from pipeline.models.settings import GavtSettings
from pipeline.settings.load import dump_settings, load_settings
from pipeline.settings.registry import EXTENSIONS, Kind, Registry
from pipeline.tasks.mma_settings import MmaSettings
from pipeline.tasks.registry import TASKS
from pipeline.tasks.several_settings import SeveralSettings
from pipeline.train.run_settings import RunSettings

SEVERAL = {
    "kind": "several",
    "tasks": {"pull": {"task": {"pairs": "both"}}, "push": {"weight": 0.5, "task": {"kind": "mma"}}},
}
EXTENSION = """
from typing import Literal
from pipeline.tasks.contract import Metric, TaskSettings
from pipeline.tasks.registry import TASKS

class Settings(TaskSettings):
    kind: Literal["{kind}"] = "{kind}"
    margin: float = 0.2
    sums = property(lambda self: ("loss", "samples"))
    metrics = property(lambda self: (Metric("loss", "loss"),))

TASKS.add("{kind}", "{module}:Settings")
"""


def write(folder, **content):
    (folder / "settings.yaml").write_text(yaml.safe_dump(content))
    return str(folder / "settings.yaml")


def refused(file, *overrides):
    with pytest.raises(SettingsError) as caught:
        load_settings(file, RunSettings, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_kind_says_whose_settings_a_part_has(tmp_path):
    settings = load_settings(write(tmp_path, task=SEVERAL), RunSettings).settings
    assert isinstance(settings.model, GavtSettings)  # that of settings which name none
    assert isinstance(settings.task, SeveralSettings)
    assert settings.task.tasks["pull"].task == MmaSettings(pairs="both")
    assert load_settings(None, RunSettings, ["task.kind=mma", "task.group=4"]).settings.task == MmaSettings(group=4)


@pytest.mark.parametrize(
    ("content", "overrides", "message"),
    [
        (
            {"model": {"kind": "gavtt"}},
            [],
            "settings.yaml: model.kind: expected 'av_transformer', .*'gavt', .* or .*, found 'gavtt'; did you mean",
        ),
        (
            {"task": {"kind": "mmm"}},
            [],
            f"task.kind: expected .*'mma'.* in {EXTENSIONS} adds, found 'mmm'; did you mean",
        ),
        ({"task": {"kind": 3}}, [], "task.kind: expected .*, found 3$"),
        ({"task": {"kind": ["mma"]}}, [], r"task.kind: expected .*, found \['mma'\]$"),
        ({"task": {"kind": None}}, [], "task.kind: expected .*, found None$"),
        ({}, ["model.kind=gavtt"], "override 'model.kind=gavtt': model.kind: expected .* did you mean 'gavt'"),
        ({"model": {"widht": 3}}, [], "settings.yaml: model.widht: no such setting; did you mean 'width'"),
        ({}, ["model.widht=3"], "override 'model.widht=3': model has no key 'widht'; did you mean 'width'"),
        ({}, ["model.width=x"], "override 'model.width=x': model.width: expected .*integer.*, found 'x'"),
        ({"model": 3}, [], "settings.yaml: model: expected keys with values, found 3"),
        # keys of another kind than the one that is meant
        (
            {"task": {"kind": "mma", "tasks": {}}},
            [],
            "task.tasks: no such setting; known are group, hard, kind, negatives, pairs",
        ),
        ({}, ["task.tasks.pull.weight=1"], "task has no key 'tasks'"),
        # a kind within a kind
        (
            {"task": SEVERAL},
            ["task.tasks.pull.task.pairz=one"],
            "task.tasks.pull.task has no key 'pairz'; did you mean",
        ),
        ({"task": SEVERAL}, ["task.tasks.pull.wieght=1"], "task.tasks.pull has no key 'wieght'; did you mean 'weight'"),
        ({"task": SEVERAL}, ["task.tasks.pull.task.kind=mm"], "task.tasks.pull.task.kind: expected .*'mma'"),
        ({"task": SEVERAL}, ["task.tasks.push.task.group=1"], "task.tasks.push.task.group: expected .*2, found 1"),
        ({"task": SEVERAL}, ["task.tasks.new.weight=1"], "task.tasks.new.task: this setting is required"),
        ({"task": {"kind": "several", "tasks": {}}}, [], "task.tasks: expected 1 or more, found {}"),
        ({"task": {"kind": "several", "tasks": {"A b": {"task": {}}}}}, [], r"tasks: expected text like \^.* as a key"),
        ({"task": {"kind": "several", "tasks": {1: {"task": {}}}}}, [], "task.tasks: expected a .*string as a key"),
    ],
)
def test_what_is_wrong_about_a_kind_is_said_with_its_place_and_the_nearest(tmp_path, content, overrides, message):
    file = write(tmp_path, **content)
    with pytest.raises(SettingsError, match=message):
        load_settings(file, RunSettings, overrides)
    refused(file, *overrides)


def test_each_value_of_a_kind_says_where_it_came_from(tmp_path):
    file = write(tmp_path, task=SEVERAL)
    loaded = load_settings(file, RunSettings, ["task.tasks.push.weight=3"])
    rows = {key: (value, origin) for key, value, origin in loaded.rows()}
    assert rows["task.tasks.pull.task.pairs"] == ("both", file)
    assert rows["task.tasks.push.weight"] == (3.0, "override 'task.tasks.push.weight=3'")
    assert rows["task.tasks.push.task.pairs"] == ("one", "default")
    assert rows["model.kind"] == ("gavt", "default")


@pytest.mark.parametrize("content", [{}, {"task": SEVERAL, "model": {"kind": "gavt", "layers": 3}}])
def test_settings_of_any_kind_are_read_back_as_they_were_written(tmp_path, content):
    settings = load_settings(write(tmp_path, **content), RunSettings).settings
    (tmp_path / "again.yaml").write_text(dump_settings(settings))
    assert load_settings(str(tmp_path / "again.yaml"), RunSettings).settings == settings
    assert RunSettings.model_validate_json(settings.model_dump_json()) == settings


def extend(folder, monkeypatch, module, content, named=None):
    (folder / f"{module}.py").write_text(content)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv(EXTENSIONS, named or module)


def test_a_module_named_in_the_environment_adds_its_kinds(tmp_path, monkeypatch):
    content = EXTENSION.format(kind="ranked", module="ranking_task")
    extend(tmp_path, monkeypatch, "ranking_task", content, named="collections, ranking_task,")
    file = write(tmp_path, task={"kind": "ranked", "margin": 0.5})
    settings = load_settings(file, RunSettings).settings
    assert (type(settings.task).__name__, settings.task.margin) == ("Settings", 0.5)
    (tmp_path / "again.yaml").write_text(dump_settings(settings))
    assert load_settings(str(tmp_path / "again.yaml"), RunSettings).settings == settings
    assert "task has no key 'margn'; did you mean 'margin'" in refused(file, "task.margn=1")
    several = {"kind": "several", "tasks": {"rank": {"task": {"kind": "ranked", "margin": 0.1}}}}
    assert load_settings(write(tmp_path, task=several), RunSettings).settings.task.tasks["rank"].task.margin == 0.1
    said = refused(write(tmp_path, task={"kind": "rankd"}))
    assert "'ranked', " in said
    assert said.endswith("found 'rankd'; did you mean 'ranked'?")


def test_a_settings_file_cannot_have_code_imported(tmp_path, monkeypatch):
    monkeypatch.delenv(EXTENSIONS, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "harmful.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    for kind in ("harmful", "harmful:Settings", "harmful.Settings"):
        assert "task.kind: expected" in refused(write(tmp_path, task={"kind": kind}))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("named", "content", "message"),
    [
        ("nowhere_at_all", None, "expected modules that can be imported, found nowhere_at_all: No module named"),
        ("half_there.more", "", "found half_there.more: No module named 'half_there.more'"),
        ("lacking", "import nowhere_at_all", "found lacking: No module named 'nowhere_at_all'"),
        ("lacking_a_name", "from os import nothing", "found lacking_a_name: cannot import name 'nothing' from 'os'"),
        ("./task.py", None, "expected names of modules with commas between them, found './task.py'"),
        (".relative", None, "expected names of modules with commas between them, found '.relative'"),
        (
            "a_second_mma",
            EXTENSION.format(kind="mma", module="a_second_mma"),
            "task mma: expected a new name, found that of pipeline.tasks.mma_settings:MmaSettings",
        ),
    ],
)
def test_extensions_that_cannot_be_had_are_said_in_one_sentence(tmp_path, monkeypatch, named, content, message):
    if content is not None:
        extend(tmp_path, monkeypatch, named.split(".")[0], content)
    monkeypatch.setenv(EXTENSIONS, named)
    said = refused(write(tmp_path, task={"kind": "not_there"}))
    assert message in said
    assert load_settings(None, RunSettings).settings.task == MmaSettings()  # which needs none of them


def test_the_command_says_what_it_cannot_import_and_what_runs_below_it_has_the_same_kinds(tmp_path, monkeypatch):
    extend(tmp_path, monkeypatch, "sorting_task", EXTENSION.format(kind="sorted", module="sorting_task"))
    file = write(tmp_path, task={"kind": "sorted"})
    monkeypatch.setenv("PYTHONPATH", ":".join([str(tmp_path), *filter(None, sys.path)]))
    command = [sys.executable, "-m", "jobs.cli", "config", "show", file]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert shown.returncode == 0, shown.stderr
    assert "task.margin" in shown.stdout
    monkeypatch.setenv(EXTENSIONS, "gone_for_good")
    refused = subprocess.run(command, capture_output=True, text=True, timeout=120)
    sentence = "expected modules that can be imported, found gone_for_good: No module named 'gone_for_good'"
    assert (refused.returncode, refused.stderr) == (2, f"gavt: {EXTENSIONS}: {sentence}\n")


def test_two_kinds_of_one_name_are_refused_and_the_same_again_is_not():
    registry = Registry("fruit", {"apple": Kind("garden:Apple")}, default="apple")
    registry.add("pear", "garden:Pear", "garden:Tree")
    registry.add("pear", "garden:Pear", "garden:Tree")
    with pytest.raises(SettingsError, match="fruit pear: expected a new name, found that of garden:Pear"):
        registry.add("pear", "elsewhere:Pear")
    with pytest.raises(SettingsError, match="fruit apple: expected a new name"):
        registry.add("apple", "garden:Apple", "garden:Tree")
    assert registry.names() == ["apple", "pear"]


def test_the_part_of_settings_is_the_class_that_the_registry_names():
    from pipeline.tasks.mma import MultiModalAlignment

    assert TASKS.part_of(MmaSettings()) is MultiModalAlignment
    assert TASKS.settings_of("several") is SeveralSettings
    assert TASKS.settings_of("nothing") is None
