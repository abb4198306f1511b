"""Videos to shards."""

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from os import PathLike, fspath

from pipeline.errors import SettingsError
from pipeline.experiment import ExperimentSettings
from pipeline.prepare.manifests.options import ListOptions
from pipeline.prepare.manifests.read import VideoList
from pipeline.prepare.prepare import Progress
from pipeline.prepare.prepare import prepare as make
from pipeline.prepare.workers import where_it_pays
from pipeline.settings.load import load_settings
from pipeline.shards.dataset import Dataset, check_samples
from pipeline.shards.ledger import reasons_to_retry


def prepare(
    videos: str | PathLike[str] | Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    settings: str | PathLike[str] | None = None,
    overrides: Sequence[str] = (),
    *,
    lists: ListOptions | None = None,
    workers: int | None = None,
    ray_address: str | None = None,
    retry: str | Collection[str] = (),
    max_failure_rate: float | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Dataset:
    """Make a shard set of videos, or what is missing of it: what was interrupted goes on when it is called again.

        made = gavt.prepare("~/my_videos", "shards/train", overrides=["prepare.frame_rate_hz=1"])
        made.samples, made.reasons

    Args:
        videos: folders, prefixes, lists of videos or videos; local, `s3://`, `gs://`, `hf://` or `http(s)://`.
        out: folder or prefix of the shard set, which `gavt.stream` and `gavt train` read.
        settings: a file or a name, whose sections `prepare` and `fetch` count.
        overrides: of the settings.
        lists: how lists are to be read; they are recognised by default.
        workers: at most; all CPUs by default.
        ray_address: an existing Ray cluster (`host:port` or `auto`); else Ray is started here, if it is worth it.
        retry: do failed videos again: `transient`, `all`, or a reason of the ledger, or several.
        max_failure_rate: stop when more than this share of the videos fails, from 50 videos on.
        on_progress: told about once a second.

    Returns:
        The set's totals: samples, videos, and how many of them failed for which reason.

    Raises:
        SettingsError: settings, workers, a rate or reasons that can't be.
        ManifestError: a list that is wrong or in no known format.
        ShardSetError: another plan is there, too many videos fail, or none gave a sample.
        StorageError: what can't be read or written.
    """
    if workers is not None and workers < 1:
        raise SettingsError(f"workers: expected 1 or more, found {workers}")
    if max_failure_rate is not None and not 0 <= max_failure_rate <= 1:
        raise SettingsError(f"max_failure_rate: expected a share, 0 to 1, found {max_failure_rate}")
    some = [videos] if isinstance(videos, str | PathLike) else videos
    chosen = load_settings(settings, ExperimentSettings, overrides).settings
    rows, place = VideoList([fspath(one) for one in some], lists), fspath(out)
    with ExitStack() as stack:
        made = make(
            rows,
            place,
            chosen.prepare,
            where_it_pays(stack, ray_address, workers),
            fetch=chosen.fetch,
            retry=reasons_to_retry([retry] if isinstance(retry, str) else retry),
            max_failure_rate=max_failure_rate,
            on_progress=on_progress,
        )
    check_samples(made, place)
    return made
