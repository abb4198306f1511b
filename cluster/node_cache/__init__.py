"""Bytes of remote files, kept on a node's own disk for all its processes.

Files are kept in *extents*, aligned pieces of some MiB, for each version of a file (URL and ETag) apart. An extent is
fetched by whoever wants it first, while others wait; it appears whole. Processes share a folder and nothing else:
there is no daemon and no shared memory, and any of them may be killed at any moment.

    FOLDER/account                  one line: bytes in use, bytes kept, where the ring begins; flocked for moments
    FOLDER/ring                     the transient extents, oldest first
    FOLDER/users/PID-RANDOM         one for each process, flocked while it lives: the sets that it uses
    FOLDER/sets/SET/FILE/VERSION/   extents: NUMBER.kept, NUMBER.ring (transient), NUMBER.part (being fetched, flocked)

What stays. An epoch goes over all data once, in a new order each time: whatever was used longest ago is what comes
soonest, and a cache that drops it would hold nothing of use. So extents are *kept*, for good, as long as they fill less
than `max_bytes` without `ring_bytes`; the others are *transient*: they pass through a ring that has the rest, and the
oldest goes first. In every later epoch the kept ones are hits, and the ring serves samples whose
neighbours were read a moment ago. Before anything else goes what no living process uses: sets (folders) from which none
has read; and older versions of a file go as soon as a newer one is read.

What is small and read whole by every process, such as an index, can be kept in the same way (`once`).

All extents and parts together never have more than `max_bytes`, and 5 % of the disk stay free. Where the folder can't
be written or the disk is full, bytes come straight from the origin, with one warning.

The folder has to be on a disk (or memory, such as `/dev/shm`) of this machine: NFS and its like are as far away as the
origin, and their locks don't see all that is killed. It belongs to one user.
"""

from cluster.node_cache.cache import EXTENT_BYTES, NodeCache
from cluster.node_cache.places import FOLDER, default_folder

__all__ = ["EXTENT_BYTES", "FOLDER", "NodeCache", "default_folder"]
