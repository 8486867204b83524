"""TensorBoard's event files, without TensorFlow.

A file is a TFRecord file of Event protocol buffers (tensorflow/core/util/event.proto,
tensorflow/core/framework/summary.proto), of which a number and a picture need nine fields.
"""

import socket
import struct
import time
from pathlib import Path

from cryotwin.datasets.tfrecords import write_record

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VERSION = b"brain.Event:2"


class EventFile:
    """A new event file in a folder; each value that is added is on the disk at once.

    Args:
        folder: for TensorBoard's --logdir; it is made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        # Names sort by time; the fraction tells runs of the same second apart.
        self._path = folder / f"events.out.tfevents.{now:.6f}.{socket.gethostname()}"
        self._append(_double(1, now) + _field(3, _VERSION))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Adds a number that belongs to a step."""
        self._add(name, _float(2, value), step)

    def add_picture(self, name: str, png: bytes, width: int, height: int, step: int) -> None:
        """Adds a picture that belongs to a step: a PNG file of RGB or RGBA."""
        size = _number(1, height) + _number(2, width) + _number(3, 4)
        self._add(name, _field(4, size + _field(4, png)), step)

    def _add(self, name: str, value: bytes, step: int) -> None:
        summary = _field(1, _field(1, name.encode()) + value)
        self._append(_double(1, time.time()) + _number(2, step) + _field(5, summary))

    def _append(self, event: bytes) -> None:
        with self._path.open("ab") as file:
            write_record(file, event)


def _varint(number: int) -> bytes:
    """Gives seven bits a byte, lowest first."""
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | _FIXED64) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | _FIXED32) + struct.pack("<f", value)


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(content)) + content
