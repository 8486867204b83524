"""CRC-32C (Castagnoli), the checksum of TFRecord files, compiled.

Eight bytes are looked up at a time (Kounavis and Berry 2008, "slicing by 8"): TensorFlow, whose
import takes seconds, is not needed by workers that write records.
"""

import numba
import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78
"""x^32 + x^28 + ... + 1 of RFC 3720, with its bits reversed."""


def crc32c(data: bytes | memoryview) -> int:
    """Computes the CRC-32C of `data`, from 0 to 2^32 - 1."""
    whole = len(data) // 8
    words = np.frombuffer(data, dtype="<u8", count=whole)
    rest = np.frombuffer(data, dtype=np.uint8, offset=8 * whole)
    return int(_crc32c(words, rest, _TABLES))


def _tables() -> NDArray[np.uint32]:
    """Gives what a byte contributes (8, 256) when 0 to 7 more bytes follow it."""
    tables = np.zeros((8, 256), dtype=np.uint32)
    tables[0] = np.arange(256)
    for _ in range(8):
        odd = tables[0] & 1
        tables[0] = (tables[0] >> 1) ^ odd * np.uint32(_POLYNOMIAL)
    for later in range(1, 8):
        tables[later] = tables[0][tables[later - 1] & 0xFF] ^ (tables[later - 1] >> 8)
    return tables


_TABLES = _tables()


@numba.njit(cache=True, nogil=True)
def _crc32c(
    words: NDArray[np.uint64], rest: NDArray[np.uint8], tables: NDArray[np.uint32]
) -> np.uint32:
    crc = np.uint32(0xFFFFFFFF)
    for word in words:
        mixed = word ^ np.uint64(crc)
        crc = np.uint32(0)
        for place in range(8):
            crc ^= tables[7 - place, (mixed >> np.uint64(8 * place)) & np.uint64(0xFF)]
    for byte in rest:
        crc = tables[0, (crc ^ byte) & np.uint32(0xFF)] ^ (crc >> np.uint32(8))
    return crc ^ np.uint32(0xFFFFFFFF)
