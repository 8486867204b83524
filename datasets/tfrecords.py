"""TFRecord files, written, read and checked without TensorFlow.

A record is its length (8 bytes), the masked CRC-32C of the length, the payload, and the masked
CRC-32C of the payload, all little endian (tensorflow/core/lib/io/record_writer.cc).
"""

import mmap
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_HEAD_BYTES = _LENGTH.size + _CRC.size


def write_record(file: IO[bytes], payload: bytes) -> None:
    """Appends one record to a file that is open for binary writing."""
    length = _LENGTH.pack(len(payload))
    file.write(length + _CRC.pack(_masked_crc(length)))
    file.write(payload)
    file.write(_CRC.pack(_masked_crc(payload)))


def record_spans(path: Path) -> list[tuple[int, int]]:
    """Finds offset and length of each record's payload by hopping from one to the next.

    Raises:
        OSError: the file is truncated.
    """
    size = path.stat().st_size
    spans, position = [], 0
    with path.open("rb") as file:
        while position < size:
            file.seek(position)
            head = file.read(_LENGTH.size)
            length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else size
            spans.append((position + _HEAD_BYTES, length))
            position += _HEAD_BYTES + length + _CRC.size
    if position != size:
        raise OSError(f"{path.name} is truncated")
    return spans


def read_records(path: Path) -> Iterator[bytes]:
    """Yields the payloads of a file one after the other, with their checksums checked.

    Raises:
        OSError: the file is missing, truncated or damaged.
    """
    with path.open("rb") as file:
        while head := file.read(_HEAD_BYTES):
            if len(head) < _HEAD_BYTES:
                raise OSError(f"{path.name} is truncated")
            if _CRC.unpack_from(head, _LENGTH.size)[0] != _masked_crc(head[: _LENGTH.size]):
                raise OSError(f"{path.name} is damaged")
            length = _LENGTH.unpack_from(head)[0]
            payload, crc = file.read(length), file.read(_CRC.size)
            if len(crc) < _CRC.size:
                raise OSError(f"{path.name} is truncated")
            if _CRC.unpack(crc)[0] != _masked_crc(payload):
                raise OSError(f"{path.name} is damaged")
            yield payload


def read_records_at(path: Path, places: Sequence[int]) -> Iterator[bytes]:
    """Yields the payloads of the records at `places`, counted from 0, with their checksums checked.

    Raises:
        OSError: the file is missing, truncated or damaged, or has no such record.
    """
    spans = record_spans(path)
    with path.open("rb") as file:
        for place in places:
            if place >= len(spans):
                raise OSError(f"{path.name} has {len(spans)} records, not {place + 1}")
            offset, length = spans[place]
            file.seek(offset)
            payload, crc = file.read(length), file.read(_CRC.size)
            if len(crc) < _CRC.size or _CRC.unpack(crc)[0] != _masked_crc(payload):
                raise OSError(f"{path.name} is damaged")
            yield payload


def count_records(path: Path) -> int | None:
    """Counts the records of a file and checks the checksums of every one.

    Returns:
        The number of records; None when the file is truncated or damaged.
    """
    if path.stat().st_size == 0:  # An empty file cannot be mapped.
        return 0
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as view,
    ):
        count = 0
        for whole in _records(view):
            if not whole:
                return None
            count += 1
        return count


def _records(view: memoryview) -> Iterator[bool]:
    """Goes from record to record and tells of each whether it is whole; ends at the first not."""
    position = 0
    while position < len(view):
        start = position + _HEAD_BYTES
        if start > len(view):
            yield False
            return
        with view[position : position + _LENGTH.size] as length:
            size = _LENGTH.unpack(length)[0]
            whole = _CRC.unpack_from(view, position + _LENGTH.size)[0] == _masked_crc(length)
        position = start + size + _CRC.size
        whole = whole and position <= len(view)
        if whole:
            with view[start : start + size] as payload:
                whole = _CRC.unpack_from(view, start + size)[0] == _masked_crc(payload)
        yield whole
        if not whole:
            return


def _masked_crc(data: bytes | memoryview) -> int:
    """Rotates a CRC and adds a constant, so that the CRC of data with CRCs inside stays useful."""
    from cryotwin.datasets.crc32c import crc32c

    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
