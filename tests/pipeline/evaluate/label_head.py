"""A measure of a classification head with random weights."""

import torch

from pipeline.evaluate.measures.classification import Labels
from pipeline.evaluate.measures.contract import Judged
from pipeline.evaluate.registry import MEASURES
from pipeline.evaluate.samples import EvaluationSamples
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.tasks.classification_settings import ClassificationSettings
from pipeline.train.load import Trained, untrained
from tiny_run import tiny_experiment

CLASSES = ("violin", "drum", "flute", "piano")


def measure_of(url, kind=Labels, clips=None, **words):
    """Of a head with these settings; `clips` are the measure's."""
    task = ClassificationSettings.model_validate({"classes": CLASSES} | words)
    settings = tiny_experiment().model_copy(update={"task": task})
    if task.segments:
        features = settings.features.model_copy(update={"frames": task.segments})
        settings = settings.model_copy(update={"features": features})
    evaluate = EvaluateSettings(batch_size=4)
    samples = EvaluationSamples.open(url, settings, evaluate, torch.device("cpu"))
    trained = Trained(untrained(settings, "cpu", 0), settings, 1, "run")
    assert kind.reason_against(trained, samples) is None
    own = {} if clips is None else {"clips": clips}
    return kind(MEASURES.settings_of(kind.name)(**own), Judged(trained, samples, None, evaluate))


def row(table, name):
    return next(one.values for one in table.rows if one.name == name)
