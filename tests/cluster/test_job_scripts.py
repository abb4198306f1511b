"""Job scripts: whatever stands in names, words and variables, it reaches the command as it is, and no shell."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cluster.job_records import JobRecord, now
from cluster.launchers.local import LocalLauncher
from cluster.launchers.script import bash_script
from cluster.launchers.slurm import SlurmLauncher
from cluster.site_settings import SiteSettings

HOSTILE = st.text(st.sampled_from(list(" '\"\\$()`;&|<>*?#!~\n\t{}[]%=-aé😀")), max_size=12)
TELLS = "import json, os, sys; print(json.dumps([sys.argv[1:], os.getcwd(), os.environ['SAID']]))"


def record(**fields: object) -> JobRecord:
    given = {
        "name": "train-1",
        "verb": "train",
        "place": "local",
        "python": sys.executable,
        "program": (sys.executable, "-c", TELLS),
        "words": (),
        "ranked": True,
        "directory": "/",
        "folder": "/tmp",
        "user": "me",
        "host": "here",
        "submitted": now(),
    }
    return JobRecord.model_validate(given | fields)


@settings(max_examples=25, deadline=None)
@given(words=st.lists(HOSTILE, max_size=4), name=HOSTILE.filter(lambda text: "/" not in text), value=HOSTILE)
def test_a_script_run_by_bash_gives_back_the_words_exactly(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], name: str, value: str
) -> None:
    directory = tmp_path_factory.mktemp("work") / f"d{name}"
    directory.mkdir()
    job = record(words=words, directory=str(directory), site={"environment": {"SAID": value}})
    script = bash_script(job, ["#SBATCH --nodes=1"], job.command)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [words, os.path.realpath(directory), value]


def test_slurms_script_gives_srun_the_words_exactly(tmp_path: Path) -> None:
    words = ["a b", "$(touch pwned)", "x;y", "new\nline", "'\"", "--set=a.b={c: [1, 2]}"]
    script = SlurmLauncher().script(record(words=words, directory=str(tmp_path)), f'{tmp_path}/jobs/it\'s a "job"')
    # what would keep the attempts only says what it is told
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'import json, sys; print(json.dumps(sys.argv[1:]))' \"$@\"\n")
    fake.chmod(0o755)
    script = script.replace(f"exec {sys.executable}", f"exec {fake}")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told[-len(words) :] == words
    assert told[2] == f'{tmp_path}/jobs/it\'s a "job"'
    assert list(tmp_path.glob("*pwned*")) == []


def test_a_secret_in_the_sites_variables_is_refused() -> None:
    with pytest.raises(ValidationError, match="no secret, found AWS_SECRET_ACCESS_KEY"):
        SiteSettings(environment={"AWS_SECRET_ACCESS_KEY": "s3cr3t"})


def test_no_secret_of_the_environment_is_in_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY"):
        monkeypatch.setenv(name, "s3cr3t")
    for launcher in (LocalLauncher(), SlurmLauncher()):
        assert "s3cr3t" not in launcher.script(record(), "/tmp/jobs/train-1")
