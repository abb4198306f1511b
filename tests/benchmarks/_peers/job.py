"""What a loader's process is asked to do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """One loader over one set of samples.

    Attributes:
        loader: module beside this one: bare_loop, bare_requests, gavt_loader, webdataset_loader, mosaic_loader,
            litdata_loader.
        url: the set in the loader's own format, local or s3://.
        scratch: an empty local folder, for its cache.
        workers: processes that read and decode.
        frame_size: side of the decoded frames in pixels.
    """

    loader: str
    url: str
    scratch: str
    workers: int = 2
    batch_size: int = 64
    frame_size: int = 128
