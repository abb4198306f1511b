"""Which processes use a cache, and which sets of files: a file for each process, flocked while it lives."""

import os
import secrets
from contextlib import suppress

from cluster.file_lock import try_lock
from cluster.node_cache.extent_files import names
from cluster.private_folder import make_private, open_own


class Users:
    """This process among the users of the cache in `folder`."""

    def __init__(self, folder: str) -> None:
        self._folder = f"{folder}/users"
        self._claimed: set[str] = set()
        self._process = os.getpid()
        self._file = -1
        self._path = ""

    def join(self) -> None:
        """Make this process known."""
        make_private(self._folder)
        self._path = f"{self._folder}/{os.getpid()}-{secrets.token_hex(4)}"
        self._file = open_own(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND)
        try_lock(self._file)

    def leave(self) -> None:
        """Say goodbye: others then need not count anew."""
        if self._file >= 0:
            if self._process == os.getpid():  # else a fork's
                with suppress(OSError):
                    os.unlink(self._path)
            os.close(self._file)
            self._file = -1

    def claim(self, name: str, url: str) -> None:
        """Say that this process uses the set `name`, whose folder is `url`, for as long as it lives."""
        os.write(self._file, f"{name} {url}\n".encode())
        self._claimed.add(name)

    def look(self) -> tuple[set[str], bool]:
        """The sets that living processes use, and whether a process has died without a goodbye."""
        used, died = set(self._claimed), False
        for name in names(self._folder):
            path = f"{self._folder}/{name}"
            with suppress(FileNotFoundError):
                user = open_own(path, os.O_RDONLY)
                try:
                    if try_lock(user):
                        os.unlink(path)
                        died = True
                    else:
                        with open(user, "rb", closefd=False) as lines:
                            used.update(line.decode().partition(" ")[0] for line in lines)
                finally:
                    os.close(user)
        return used, died
