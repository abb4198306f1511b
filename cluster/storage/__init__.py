"""Files on local disk and on object storage, behind one set of functions.

A path is a local path or a URL such as `s3://bucket/key`, `gs://bucket/key` or `hf://datasets/USER/NAME/file` (only
read). What is needed of a storage, which of them gives it, and how they are told who asks: `README.md` in this folder.
Writes are atomic: a reader sees the old file or the new one, never half of one. On object storage, what fails in ways
that pass (503, lost connections, answers cut off) is tried again for `GAVT_STORAGE_PATIENCE_S` seconds a request, 180
unless set.
"""

from cluster.storage.below import check_names, local_places, name_below, why_not_below
from cluster.storage.copying import download, local_copy, upload
from cluster.storage.filesystems import ACCOUNT_VARIABLES, get_ready
from cluster.storage.listing import FileInfo, exists, list_files, list_folders, size
from cluster.storage.location import Location, absolute, is_remote, is_stored, join
from cluster.storage.many import fill_parts, read_each, read_many, read_parts
from cluster.storage.part_files import make_durable
from cluster.storage.parts import open_read, read_part, read_range
from cluster.storage.reading import read_bytes, read_json, read_text, sha256
from cluster.storage.removing import remove, remove_folder, remove_parts
from cluster.storage.versions import FileVersion, version
from cluster.storage.writable import check_file_writable, check_writable
from cluster.storage.writing import create, replace, write_bytes, write_text

__all__ = [
    "ACCOUNT_VARIABLES",
    "FileInfo",
    "FileVersion",
    "Location",
    "absolute",
    "check_file_writable",
    "check_names",
    "check_writable",
    "create",
    "download",
    "exists",
    "fill_parts",
    "get_ready",
    "is_remote",
    "is_stored",
    "join",
    "list_files",
    "list_folders",
    "local_copy",
    "local_places",
    "make_durable",
    "name_below",
    "open_read",
    "read_bytes",
    "read_each",
    "read_json",
    "read_many",
    "read_part",
    "read_parts",
    "read_range",
    "read_text",
    "remove",
    "remove_folder",
    "remove_parts",
    "replace",
    "sha256",
    "size",
    "upload",
    "version",
    "why_not_below",
    "write_bytes",
    "write_text",
]
