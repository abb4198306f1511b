"""gavt's own list as Parquet: columns named like the keys of `own_row`; a missing value is null. Read batch by
batch."""

from collections.abc import Iterator

from cluster.masking import shown
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.head import Head
from pipeline.prepare.manifests.list_file import Draft, ListFile
from pipeline.prepare.manifests.own_row import KEYS, own_row
from pipeline.prepare.manifests.row_errors import WrongRow
from pipeline.prepare.manifests.text import open_bytes

_BATCH = 8192


def looks_like(head: Head) -> bool:
    """Named so, or with Parquet's first bytes."""
    return head.suffix in (".parquet", ".pq") or head.start.startswith("PAR1")


def read(file: ListFile) -> Iterator[Draft]:
    """Rows of a Parquet list.

    Raises:
        ManifestError: no Parquet, or other columns.
    """
    import pyarrow as pa  # takes a third of a second, which other lists need not wait for
    import pyarrow.parquet as pq

    file.number_rows()
    number = 0
    with open_bytes(file.url) as content:
        try:
            table = pq.ParquetFile(content)
            for name in table.schema_arrow.names:
                if name not in KEYS:
                    raise ManifestError(f"{file.url}: expected columns out of {', '.join(KEYS)}, found {shown(name)}")
            columns = [name for name in table.schema_arrow.names if name != "extra"]
            for batch in table.iter_batches(_BATCH, columns=columns):
                for values in batch.to_pylist():
                    number += 1
                    try:
                        naming, row = own_row(values, file)
                    except WrongRow as error:
                        file.wrong(number, error)
                        continue
                    yield number, naming, row
        except (pa.ArrowException, OSError) as error:
            why = " ".join(str(error).split())
            raise ManifestError(f"{file.url}: expected a Parquet file, found something else ({why})") from None
