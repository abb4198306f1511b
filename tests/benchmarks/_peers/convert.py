"""The samples of a shard set in the formats of Mosaic and litData: `python -m _peers.convert FORMAT SHARDS OUT`."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

FILE_BYTES = 64 << 20
"""About the size of a file; both documentations recommend 64 MB."""


def convert(kind: str, shards: Path, out: Path) -> Path:
    """Write `shards` as `mosaic` or `litdata` into the folder `out`, in a process that has the libraries.

    Raises:
        RuntimeError: the peer's writer broke.
    """
    from _peers.child import environment

    command = [sys.executable, "-m", "_peers.convert", kind, str(shards), str(out)]
    with tempfile.TemporaryDirectory(prefix="gavt-") as scratch:
        done = subprocess.run(command, env=environment(kind) | {"TMPDIR": scratch}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{kind}: its writer broke:\n{done.stderr[-3000:]}")
    return out


def _samples_of(tar: Path) -> Iterator[dict[str, bytes]]:
    import webdataset

    for sample in webdataset.WebDataset([str(tar)], shardshuffle=False):
        yield {kind: sample[kind] for kind in ("json", "jpg", "flac")}


def main() -> None:
    """The process."""
    kind, tars, out = sys.argv[1], sorted(Path(sys.argv[2]).glob("*.tar")), Path(sys.argv[3])
    if kind == "mosaic":
        from streaming import MDSWriter

        columns = {"json": "bytes", "jpg": "bytes", "flac": "bytes"}
        with MDSWriter(out=str(out), columns=columns, size_limit=FILE_BYTES) as writer:
            for sample in (sample for tar in tars for sample in _samples_of(tar)):
                writer.write(sample)
        return
    from litdata import optimize

    optimize(_samples_of, tars, str(out), chunk_bytes=FILE_BYTES, num_workers=1)


if __name__ == "__main__":
    main()
