"""Tars with headers as they should not be: every field is written as given, under a right checksum."""

BLOCK = 512


def header(name: bytes = b"k.txt", size: bytes | int = 0, kind: bytes = b"0", magic: bytes = b"ustar\x0000") -> bytes:
    """A tar header; a number is written as octal digits."""
    field = size if isinstance(size, bytes) else b"%011o\0" % size
    fields = name[:100].ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + field[:12].ljust(12, b"\0")
    fields += b"%011o\0" % 0 + b" " * 8 + kind + bytes(100) + magic
    block = fields.ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def member(name: bytes, content: bytes, kind: bytes = b"0", size: bytes | int | None = None) -> bytes:
    """A file of a tar with its header, and padding behind it."""
    return header(name, len(content) if size is None else size, kind) + content + bytes(-len(content) % BLOCK)


def tar_of(files: dict[str, bytes]) -> bytes:
    """A whole tar of these files."""
    return b"".join(member(name.encode(), content) for name, content in files.items()) + bytes(2 * BLOCK)


def binary_size(size: int) -> bytes:
    """A size in GNU's binary form, also one below 0."""
    return bytes([0x80 if size >= 0 else 0xFF]) + (size % (1 << 88)).to_bytes(11, "big")


def pax(records: list[tuple[bytes, bytes]]) -> bytes:
    """PAX headers with these records."""
    content = b""
    for key, value in records:
        length = len(key) + len(value) + 3
        length += len(str(length + len(str(length))))
        content += b"%d %s=%s\n" % (length, key, value)
    return member(b"PaxHeaders", content, b"x")
