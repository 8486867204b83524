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
from numpy.typing import NDArray

_LENGTH_DELIMITED = 2
_BYTES_LIST, _FLOAT_LIST = 1, 2
"""Numbers of the fields of tf.train.Feature."""

_SMALL_BYTES = 64
"""Entries up to this size are remembered: most are the same in every example."""


def serialize_example(example: Mapping[str, Any]) -> bytes:
    """Serialises an example of float32 arrays, float32 numbers, strings and mappings of these.

    Raises:
        TypeError: a value is of another type.
    """
    # Names are unique, so values are never compared.
    entries = b"".join([_feature(name, value) for name, value in sorted(_flat(example, ""))])
    return _head(1, len(entries)) + entries


def parse_example(payload: bytes) -> dict[str, NDArray[np.float32] | bytes]:
    """Parses an example of lists of floats and of single strings, as TensorFlow serialises it.

    Returns:
        By field a flat float32 array, or the bytes of a string.

    Raises:
        ValueError: it is no such example.
    """
    example: dict[str, NDArray[np.float32] | bytes] = {}
    for features in _contents(memoryview(payload), 1):
        for entry in _contents(features, 1):
            if len(entry) <= _SMALL_BYTES:
                name, value = _remembered_field(bytes(entry))
            else:
                name, value = _field(entry)
            example[name] = value
    return example


def _field(entry: bytes | memoryview) -> tuple[str, NDArray[np.float32] | bytes]:
    """Parses an entry of the map: the name, and the value of its list."""
    (key,), (feature,) = _contents(memoryview(entry), 1), _contents(memoryview(entry), 2)
    name, texts = bytes(key).decode(), _contents(feature, _BYTES_LIST)
    if texts:
        (text,) = _contents(texts[0], 1)
        return name, bytes(text)
    (floats,) = _contents(feature, _FLOAT_LIST)
    (packed,) = _contents(floats, 1)
    return name, np.frombuffer(packed, "<f4").astype(np.float32, copy=False)


_remembered_field = lru_cache(maxsize=4096)(_field)


def _contents(message: memoryview, number: int) -> list[memoryview]:
    """Gives the contents of the fields of that number; every field must be length-delimited."""
    found, place = [], 0
    while place < len(message):
        tag, place = _varint(message, place)
        length, place = _varint(message, place)
        if tag & 7 != _LENGTH_DELIMITED or place + length > len(message):
            raise ValueError("a record is not an example of floats and strings")
        if tag >> 3 == number:
            found.append(message[place : place + length])
        place += length
    return found


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Reads seven bits a byte, lowest first: the number, and the place after it."""
    number = shift = 0
    while place < len(message):
        byte = message[place]
        number |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return number, place
    raise ValueError("a record ends within a number")


def _flat(example: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in example.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value


def _feature(name: str, value: Any) -> bytes:
    if isinstance(value, str):
        kind, content = _BYTES_LIST, value.encode()
    elif getattr(value, "dtype", None) == np.float32:
        kind, content = _FLOAT_LIST, value.astype("<f4", copy=False).tobytes()
    else:
        raise TypeError(f"a field must be float32 or str, not {value!r}")
    make = _remembered_entry if len(content) <= _SMALL_BYTES else _entry
    return make(name, kind, content)


def _entry(name: str, kind: int, content: bytes) -> bytes:
    """Serialises an entry of the map: key 1 is the name, value 2 the list, whose value is 1."""
    key = name.encode()
    values = _head(1, len(content))
    feature = _head(kind, len(values) + len(content)) + values
    parts = _head(1, len(key)), key, _head(2, len(feature) + len(content)), feature, content
    return b"".join((_head(1, sum(map(len, parts))), *parts))


_remembered_entry = lru_cache(maxsize=4096)(_entry)


@lru_cache(maxsize=4096)
def _head(number: int, length: int) -> bytes:
    """Gives a field's tag and length, seven bits a byte, lowest first."""
    head = bytearray([number << 3 | _LENGTH_DELIMITED])
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head)
