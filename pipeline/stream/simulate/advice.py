"""One sentence that says what to change, or that nothing is to be."""

from pipeline.stream.simulate.simulation import Forecast, PlannedJob

_TWICE = 1.1
"""Downloads of an extent an epoch beyond which the cache is said to be too small."""
_SHARED = 1.5
"""Nodes that read a shard beyond which they are said to share it."""
_MARGIN = 1.05
"""Room in a cache beyond what it must hold."""


def advise(job: PlannedJob, forecast: Forecast) -> str:
    """What matters most: nodes that fetch the same, a cache that is too small, a shuffle that is too local."""
    data, first, last = job.data, forecast.epochs[0], forecast.epochs[-1]
    window, owned = _gigabytes(forecast.window_bytes), _gigabytes(forecast.node_set_bytes)
    if not forecast.ring_bytes:
        found = f"A cache of {data.cache.gigabytes:g} GB is too little" if data.cache.gigabytes else "There is no cache"
        return (
            f"{found}, so every sample is a request of its own, {first.requests_per_s:.0f} a second in all; with "
            f"data.cache.gigabytes={_enough(forecast)} everything is downloaded once an epoch, in large pieces."
        )
    if first.times > _TWICE:
        ring = _gigabytes(forecast.ring_bytes)
        return (
            f"A node needs {window} at hand, for which its cache has {ring}: everything is downloaded "
            f"{first.times:.1f} times an epoch; set data.cache.gigabytes={_enough(forecast)}, or lower "
            "data.block_samples or data.lanes."
        )
    if job.nodes > 1 and forecast.nodes_per_shard > _SHARED:
        shared = f"Each shard is read, and downloaded, by {forecast.nodes_per_shard:.1f} of {job.nodes} nodes"
        if forecast.lanes < job.nodes:
            return (
                f"{shared}: {forecast.lanes} lanes are fewer than nodes; set data.lanes to a multiple of {job.nodes}."
            )
        part = job.batch_size // job.nodes
        return f"{shared}: a node's {part} samples of a step come from several of the {forecast.lanes} lanes."
    if len(forecast.epochs) > 1 and last.times == 0:
        return f"The cache holds all that a node reads ({owned}): after the first epoch nothing is downloaded."
    everything = f"{forecast.node_set_bytes * _MARGIN / 1e9:.3g}"
    return (
        f"A node downloads each extent that it reads {first.times:.2f} times in the first epoch and {last.times:.2f} "
        f"times in the last; with data.cache.gigabytes={everything} only in the first."
    )


def _enough(forecast: Forecast) -> str:
    """Gigabytes of a cache from which nothing goes before it was read for the last time."""
    ring = forecast.window_bytes
    if forecast.needed_bytes < ring:  # then the ring is a quarter, unless everything fits
        ring = max(forecast.needed_bytes, min(4 * ring, forecast.node_set_bytes))
    else:
        ring = forecast.needed_bytes
    return f"{ring * _MARGIN / 1e9:.3g}"


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"
