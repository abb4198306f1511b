"""All settings of an experiment: one YAML file, a section a part."""

from pydantic import Field

from pipeline.evaluate.settings import EvaluateSettings
from pipeline.prepare.fetch.settings import FetchSettings
from pipeline.prepare.settings import PrepareSettings
from pipeline.train.run_settings import RunSettings
from pipeline.worlds.settings import SynthSettings
from pipeline.worlds.timbre_scenes.settings import TimbreScenesSettings


class ExperimentSettings(RunSettings):
    """What is prepared, trained and evaluated. Every verb reads its own sections of the same file."""

    synth: SynthSettings = TimbreScenesSettings()
    """The world that `gavt synth` renders."""
    prepare: PrepareSettings = PrepareSettings()
    fetch: FetchSettings = Field(default=FetchSettings(), exclude=True)
    """Never recorded: it holds what is nobody else's business, and nothing of it decides what comes out."""
    evaluate: EvaluateSettings = EvaluateSettings()
