import pytest

from pipeline.errors import SettingsError
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.settings.shipped import FOLDER, settings_file


@pytest.mark.parametrize(
    ("name", "file"),
    [("gavt_c", "experiments/gavt_c.yaml"), ("models/gavt_c", "models/gavt_c.yaml"), ("quickstart", None)],
)
def test_settings_of_this_package_go_by_their_names(name, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert settings_file(name) == str(FOLDER / (file or f"experiments/{name}.yaml"))


def test_claims_go_by_their_names_too():
    assert settings_file("events/fusion", "claims") == str(FOLDER / "claims/events/fusion.yaml")


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gavt_c").write_text("name: mine\n")
    assert load_settings("gavt_c", ExperimentSettings).settings.name == "mine"


def test_a_name_that_none_has_gets_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unlike.yaml").write_text("name: mine\n")
    with pytest.raises(SettingsError, match="gavt_d: no such settings file; did you mean 'gavt_c'"):
        load_settings("gavt_d", ExperimentSettings)
