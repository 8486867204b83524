"""The bytes of a tf.train.Example, without TensorFlow.

tfds stores an example as this protocol buffer: a map from the field's name, nested ones joined by
a slash, to a list of floats or of byte strings. All of it is length-delimited fields
(https://protobuf.dev/programming-guides/encoding). Names are in order, so that equal examples
have equal bytes.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

_LENGTH_DELIMITED = 2
_BYTES_LIST, _FLOAT_LIST = 1, 2
"""Numbers of the fields of tf.train.Feature."""


def serialize_example(example: Mapping[str, Any]) -> bytes:
    """Serialises an example of float32 arrays, float32 numbers, strings and mappings of these.

    Raises:
        TypeError: a value is of another type.
    """
    entries = b"".join(
        _field(1, _field(1, name.encode()) + _field(2, _feature(value)))
        for name, value in sorted(_flat(example, ""), key=_name)
    )
    return _field(1, entries)


def _name(field: tuple[str, Any]) -> bytes:
    return field[0].encode()


def _flat(example: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in example.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value


def _feature(value: Any) -> bytes:
    if isinstance(value, str):
        return _field(_BYTES_LIST, _field(1, value.encode()))
    if getattr(value, "dtype", None) != np.float32:
        raise TypeError(f"a field must be float32 or str, not {value!r}")
    return _field(_FLOAT_LIST, _field(1, value.astype("<f4", copy=False).tobytes()))


def _field(number: int, content: bytes) -> bytes:
    return _head(number, len(content)) + content


@lru_cache(maxsize=4096)
def _head(number: int, length: int) -> bytes:
    """Gives the tag and the length, seven bits a byte, lowest first."""
    head = bytearray([number << 3 | _LENGTH_DELIMITED])
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head)
