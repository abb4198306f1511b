"""Whether wandb can be reached."""

import os

import pytest

from cluster.errors import VariableError
from cluster.wandb_mode import resolve_mode


@pytest.mark.parametrize(
    ("variable", "setting", "mode"),
    [
        ("offline", "online", "offline"),
        ("dryrun", "online", "offline"),
        ("run", "disabled", "online"),
        ("", "disabled", "disabled"),
        (None, "online", "online"),
    ],
)
def test_the_variable_wins_by_all_names_of_wandb(monkeypatch, variable, setting, mode):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if variable is not None:
        monkeypatch.setenv("WANDB_MODE", variable)
    assert resolve_mode(setting) == mode
    assert os.environ.get("WANDB_MODE") != ""  # which wandb itself would refuse


def test_another_mode_is_refused(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "Online!")
    with pytest.raises(VariableError, match="WANDB_MODE: expected online, run, .* or none, found 'Online!'"):
        resolve_mode("auto")
