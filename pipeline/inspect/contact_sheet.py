"""The contact sheet of a shard set: one HTML page with its figures and samples by chance, to look at and to hear."""

from datetime import datetime, timezone

from cluster import storage
from pipeline.inspect.cards import make_card
from pipeline.inspect.choose import choose, read_each
from pipeline.inspect.contents import Contents
from pipeline.inspect.figures import figures_of
from pipeline.inspect.summary import ShardSetSummary
from pipeline.inspect.totals import some_indexes
from pipeline.pages import render_page


def write_sheet(contents: Contents, summary: ShardSetSummary, target: str, samples: int, seed: int) -> None:
    """Write the page; it needs nothing beside it.

    Args:
        contents: the shard set.
        summary: its figures.
        target: path or URL of the page.
        samples: how many samples are shown.
        seed: the same seed shows the same samples.

    Raises:
        StorageError: a sample can't be read, or the page can't be written.
    """
    known = some_indexes(contents, seed) if contents.dataset is None else None
    chosen = choose(contents, samples, seed, known)
    page = render_page(
        "pipeline.inspect",
        "sheet.html.j2",
        title=contents.url.rstrip("/").rsplit("/", 1)[-1],
        made=datetime.now(timezone.utc).strftime("%d %B %Y, %H:%M UTC"),
        summary=summary,
        figures=figures_of(summary),
        cards=list(read_each(contents, chosen, None, make_card)),
        seed=seed,
    )
    storage.write_text(target, page)
