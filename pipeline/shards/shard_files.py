"""A shard on storage: its tar, and the JSON beside it that says done.

OUT/shard-000123.tar         samples
OUT/shard-000123.json        written after the tar
OUT/shard-000123.tar.new     while a shard is replaced (`gavt prepare --retry`): its new content, …
OUT/shard-000123.json.new    … and the word that it is whole; what follows can be done by anybody, once or twice
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel, ValidationError

from cluster import storage
from pipeline.errors import ShardSetError
from pipeline.shards.ledger import InputEntry

_NEW = ".new"


class SampleEntry(BaseModel):
    """Where a sample lies in the tar: bytes `offset` to `offset + bytes` hold all its files with their headers.

    Attributes:
        crc32: of the contents of its files, one behind the other; it finds the sample that a wrong byte lies in.
    """

    key: str
    offset: int
    bytes: int
    crc32: int


class ShardIndex(BaseModel):
    """`shard-000123.json`. Written after the tar; it alone means that the shard is done."""

    sha256: str
    bytes: int
    samples: list[SampleEntry]
    inputs: list[InputEntry]


def shard_name(number: int) -> str:
    """Name of a shard without its extension."""
    return f"shard-{number:06d}"


def done_shards(names: Iterable[str], shards: int) -> list[int]:
    """Numbers of the shards that are done, from a listing of the names of the shard set's files."""
    there = set(names)
    return [
        number for number in range(shards) if f"{(name := shard_name(number))}.json" in there and f"{name}.tar" in there
    ]


def read_indexes(out: str, numbers: Iterable[int]) -> Iterator[ShardIndex]:
    """The JSON files of shards that are done, in the order of the numbers.

    Raises:
        ShardSetError: one is damaged.
    """
    urls = [storage.join(out, f"{shard_name(number)}.json") for number in numbers]
    for url, content in zip(urls, storage.read_many(urls), strict=True):
        try:
            yield ShardIndex.model_validate_json(content)
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            raise ShardSetError(f"{url}: expected the JSON of a shard, found something else ({problem})") from None


def publish_shard(out: str, number: int, tar: Path, index: ShardIndex) -> None:
    """Put a new shard where it belongs: the tar first, then the JSON."""
    url = storage.join(out, shard_name(number))
    storage.upload(tar, f"{url}.tar")
    storage.write_text(f"{url}.json", index.model_dump_json())


def replace_shard(out: str, number: int, tar: Path, index: ShardIndex) -> None:
    """Put a shard in the place of another, such that a kill at any moment leaves one of the two or what
    `finish_replacements` needs."""
    url = storage.join(out, shard_name(number))
    storage.upload(tar, f"{url}.tar{_NEW}")
    storage.write_text(f"{url}.json{_NEW}", index.model_dump_json())
    publish_shard(out, number, tar, index)
    storage.remove(f"{url}.json{_NEW}")
    storage.remove(f"{url}.tar{_NEW}")


def finish_replacements(out: str, names: set[str]) -> set[str]:
    """Finish or undo what a killed `replace_shard` left, from a listing of the names of the shard set's files; gives
    the names that are there afterwards."""
    left = {name for name in names if name.endswith(_NEW)}
    for name in sorted(left):
        shard = storage.join(out, name.split(".")[0])
        if name.endswith(f".json{_NEW}"):
            if f"{name.split('.')[0]}.tar{_NEW}" in left:
                for kind in ("tar", "json"):
                    with storage.local_copy(f"{shard}.{kind}{_NEW}") as copy:
                        storage.upload(copy, f"{shard}.{kind}")
            storage.remove(f"{shard}.json{_NEW}")
        elif f"{name.split('.')[0]}.json{_NEW}" not in left:
            storage.remove(f"{shard}.tar{_NEW}")
    for name in sorted(left):
        if name.endswith(f".tar{_NEW}"):
            storage.remove(storage.join(out, name))
    return names - left
