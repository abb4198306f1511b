"""Model FLOPs utilisation in a record."""

from cluster.process_group import ProcessGroup
from pipeline.models.peak_flops import device_peak_flops
from pipeline.train.flops import model_flops_utilization, training_flops
from pipeline.train.run_settings import RunSettings


class Utilisation:
    """How much of what the job's GPUs can compute the model uses; silent where no data sheet says what they can."""

    def __init__(self, settings: RunSettings, group: ProcessGroup) -> None:
        self._peak = device_peak_flops(group.device, settings.train.precision) if group.is_main else None
        self._flops = training_flops(settings) if self._peak is not None else None
        self._devices = group.world_size

    def of(self, samples_per_s: float) -> dict[str, float]:
        """`mfu`, 0–1, at a pace of the whole job; nothing where it is not known."""
        if self._peak is None or self._flops is None:
            return {}
        return {"mfu": round(model_flops_utilization(samples_per_s, self._flops, self._devices, self._peak), 4)}
