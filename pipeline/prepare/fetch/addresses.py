"""How far inside a network addresses lie.

A server on the web may redirect to any address, also to one that only this machine or this network can reach, such as
`169.254.169.254`, where clouds hand out credentials. What a list itself names may lie anywhere.
"""

import asyncio
import ipaddress
import socket
from enum import IntEnum

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Inside(IntEnum):
    """How far inside an address lies. Redirects go to as far inside as they came from, and no further."""

    PUBLIC = 0
    """The whole internet reaches it."""
    PRIVATE = 1
    """A network of its own: `10.0.0.0/8`, `192.168.0.0/16`, `fc00::/7` and whatever else is not public."""
    LINK_LOCAL = 2
    """The next machine, or a cloud's own service: `169.254.0.0/16`, `fe80::/10`."""
    LOOPBACK = 3
    """This machine: `127.0.0.0/8`, `::1`, `0.0.0.0`."""


class TooFarInsideError(OSError):
    """A name stands for an address that lies further inside than the connection may go."""


def inside(address: str) -> Inside:
    """How far inside an address lies, in digits; of an IPv6 address that stands for one of IPv4, the latter.

    Raises:
        ValueError: it is a name.
    """
    found = _plain(ipaddress.ip_address(address.partition("%")[0]))
    if found.is_loopback or found.is_unspecified:
        return Inside.LOOPBACK
    if found.is_link_local:
        return Inside.LINK_LOCAL
    return Inside.PUBLIC if found.is_global else Inside.PRIVATE


def inside_of_host(host: str) -> Inside | None:
    """How far inside a host lies that is written as an address; None of a name."""
    try:
        return inside(host)
    except ValueError:
        return None


async def inside_of(host: str) -> Inside:
    """How far inside a host lies that was named by the user: of several addresses, the one that lies least far. A name
    that stands for nothing counts as public."""
    written = inside_of_host(host)
    if written is not None:
        return written
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return Inside.PUBLIC
    return min((inside(str(entry[4][0])) for entry in found), default=Inside.PUBLIC)


def too_far_inside(host: str) -> str:
    """What is said of a redirect to such a host."""
    return f"it is redirected to {host}, an internal address; fetch.internal_redirects allows that"


def _plain(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv6Address):
        if address in ipaddress.IPv6Network("64:ff9b::/96"):  # NAT64
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else address)
    return address
