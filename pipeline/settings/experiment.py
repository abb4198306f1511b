"""All settings of an experiment: one YAML file, a section a part."""

from pydantic import Field

from pipeline.evaluate.settings import EvaluateSettings
from pipeline.features.settings import FeatureSettings
from pipeline.models.settings import GavtSettings
from pipeline.prepare.fetch.settings import FetchSettings
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.synth.settings import SynthSettings
from pipeline.settings.base import Settings
from pipeline.stream.settings import DataSettings
from pipeline.tasks.settings import MmaSettings
from pipeline.train.settings import TrainSettings


class ExperimentSettings(Settings):
    """What is prepared, trained and evaluated. Every verb reads its own sections of the same file."""

    name: str = Field(default="experiment", pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$")
    """Name of the experiment; also wandb's run name unless it has another, and the run folder's in runs/."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Everything random follows from it."""
    synth: SynthSettings = SynthSettings()
    prepare: PrepareSettings = PrepareSettings()
    fetch: FetchSettings = Field(default=FetchSettings(), exclude=True)
    """Never recorded: it holds what is nobody else's business, and nothing of it decides what comes out."""
    data: DataSettings = DataSettings()
    features: FeatureSettings = FeatureSettings()
    model: GavtSettings = GavtSettings()
    task: MmaSettings = MmaSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
