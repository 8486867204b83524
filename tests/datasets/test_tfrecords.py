import io
import os

import numpy as np
import pytest

from cryotwin.datasets.crc32c import crc32c
from cryotwin.datasets.example_bytes import serialize_example
from cryotwin.datasets.quiet_imports import import_tensorflow
from cryotwin.datasets.schema import CTF_FIELDS, example_features
from cryotwin.datasets.tfrecords import count_records, write_record

PAYLOADS = [b"", b"x", b"12345678", np.random.default_rng(0).bytes(1003)]
SIZE = 16


def example():
    rng = np.random.default_rng(1)
    return {
        "image": rng.standard_normal((SIZE, SIZE)).astype(np.float32),
        "quaternion": rng.standard_normal(4).astype(np.float32),
        "shift_angstrom": np.zeros(2, dtype=np.float32),
        "structure": "ribosome é",
        "pixel_size_angstrom": np.float32(1.25),
        "key": "ribosome-0000001",
        "noise_variance": np.float32(0),
        "ctf": {name: np.float32(place) for place, name in enumerate(CTF_FIELDS)},
    }


@pytest.fixture
def records(tmp_path):
    with (tmp_path / "records").open("wb") as file:
        for payload in PAYLOADS:
            write_record(file, payload)
    return tmp_path / "records"


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_the_checksum_is_that_of_rfc_3720(data, checksum):
    assert crc32c(data) == checksum


def test_the_file_is_the_one_that_tensorflow_writes(records, tmp_path):
    tensorflow = import_tensorflow()
    with tensorflow.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for payload in PAYLOADS:
            writer.write(payload)
    assert records.read_bytes() == (tmp_path / "theirs").read_bytes()


def test_every_record_is_counted(records, tmp_path):
    assert count_records(records) == len(PAYLOADS)
    (tmp_path / "empty").touch()
    assert count_records(tmp_path / "empty") == 0


def test_a_file_cut_anywhere_but_between_records_is_told(records):
    ends = set(np.cumsum([16 + len(payload) for payload in PAYLOADS])) | {0}
    for size in range(records.stat().st_size - 1, -1, -1):
        os.truncate(records, size)
        assert (count_records(records) is None) == (size not in ends), size


@pytest.mark.parametrize("place", [0, 9, 20, 30, 40, 300])
def test_a_flipped_bit_is_told(records, place):
    content = bytearray(records.read_bytes())
    content[place] ^= 4
    records.write_bytes(content)
    assert count_records(records) is None


def test_an_example_has_the_bytes_that_tensorflow_gives_it():
    features = example_features(SIZE)
    theirs = import_tensorflow().train.Example.FromString(
        features.serialize_example(features.encode_example(example()))
    )
    assert serialize_example(example()) == theirs.SerializeToString(deterministic=True)


def test_a_double_is_not_stored_as_something_else():
    with pytest.raises(TypeError, match="float32 or str, not 1.5"):
        serialize_example({"noise_variance": 1.5})


def test_a_record_goes_to_any_binary_file():
    file = io.BytesIO()
    write_record(file, b"abc")
    assert len(file.getvalue()) == 19
