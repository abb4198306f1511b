"""Connections that go no further inside a network than they may."""

import socket

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from pipeline.prepare.fetch.addresses import Inside, TooFarInsideError, inside, too_far_inside


class BoundedResolver(AbstractResolver):
    """Finds the addresses of names, as long as none lies further inside than `most`. The connection is made to the
    addresses that were looked at, so that a name can't stand for others a moment later."""

    def __init__(self, most: Inside) -> None:
        self._most = most
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """See `AbstractResolver.resolve`.

        Raises:
            TooFarInsideError: an address lies too far inside.
        """
        found = await self._resolver.resolve(host, port, family)
        for entry in found:
            if inside(entry["host"]) > self._most:
                raise TooFarInsideError(too_far_inside(f"{host} ({entry['host']})"))
        return found

    async def close(self) -> None:
        """See `AbstractResolver.close`."""
        await self._resolver.close()
