"""Random draws keyed by what they are for, not by who draws them."""

import zlib

import numpy as np


def keyed_generator(seed: int, purpose: str, *key: int) -> np.random.Generator:
    """A generator that depends only on the seed, the purpose and the key (epoch and position, say)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *key])))
