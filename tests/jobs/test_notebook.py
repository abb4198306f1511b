"""The notebook of first steps runs from its first cell to its last."""

import json
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from small_video import write_video
from tiny_run import tiny_separator, write_run

REPOSITORY = Path(__file__).parents[2]
NOTEBOOK = REPOSITORY / "jobs/notebooks/first_steps.ipynb"


@pytest.fixture
def quickstart(tmp_path: Path) -> Path:
    """A folder as the quickstart leaves it, with a tiny model."""
    write_run(tmp_path, tiny_separator())
    (tmp_path / "world").mkdir()
    rows = []
    for number in range(2):
        write_video(tmp_path / "world" / f"{number}.mp4", size=(64, 64))
        rows.append(json.dumps({"video": str(number), "source": f"{number}.mp4", "labels": ["violin"]}) + "\n")
    (tmp_path / "world/test.jsonl").write_text("".join(rows))
    return tmp_path


def test_the_first_steps_run_on_the_results_of_the_quickstart(
    quickstart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
    monkeypatch.setenv("GAVT_RUN", str(quickstart))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    kinds = [kind for output in shown for kind in output.get("data", {})]
    assert kinds.count("image/png") == 2
    assert any("<audio" in output.get("data", {}).get("text/html", "") for output in shown)
    assert "here: " in "".join(output.get("text", "") for output in shown)
