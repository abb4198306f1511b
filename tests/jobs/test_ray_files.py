"""The ready files of `jobs/ray/` are what Ray and KubeRay read."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from jobs.cli import main

FILES = Path(__file__).parents[2] / "jobs" / "ray"
KUBERAY = Path(__file__).parent / "kuberay_rayjob_schema.json"
"""Of KubeRay's definition of a RayJob (v1), the fields that are used, and no others."""


def read(name: str) -> Any:
    return yaml.safe_load((FILES / name).read_text(encoding="utf-8"))


def test_the_rayjob_holds_against_kuberays_schema() -> None:
    job, schema = read("rayjob.yaml"), json.loads(KUBERAY.read_text(encoding="utf-8"))
    jsonschema.validate(job, schema)
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replica"] = 4
    with pytest.raises(jsonschema.ValidationError, match="replica"):
        jsonschema.validate(job, schema)


def test_the_cluster_file_holds_against_rays_schema() -> None:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(read("cluster.yaml"), schema)


def test_the_verbs_of_the_rayjob_know_their_options(capsys: pytest.CaptureFixture[str]) -> None:
    entrypoint = read("rayjob.yaml")["spec"]["entrypoint"].rstrip("'")
    for verb in ("resume", "submit", "logs"):
        assert f"gavt {verb} " in entrypoint
        with pytest.raises(SystemExit) as left:
            main([verb, "--help"])
        assert left.value.code in (0, None)
        told = capsys.readouterr().out
        part = entrypoint.partition(f"gavt {verb} ")[2].partition("gavt")[0]
        for option in {word for word in part.split() if word.startswith("--") and word != "--run"}:
            assert option in told
