import json
import os
from pathlib import Path

import numpy as np
import pytest

from cryotwin.datasets.folder import (
    load_split,
    open_folder,
    shard_name,
    write_dataset_metadata,
)
from cryotwin.datasets.quiet_imports import import_tensorflow, import_tfds
from cryotwin.datasets.schema import CTF_FIELDS, example_features, no_ctf
from cryotwin.imaging.errors import InputError

SIZE = 4
LENGTHS = {"train": [3, 2], "test": [1]}


def example(split: str, index: int) -> dict:
    return {
        "image": np.full((SIZE, SIZE), index, np.float32),
        "quaternion": np.array([1, 0, 0, 0], np.float32),
        "shift_angstrom": np.array([index, -index], np.float32),
        "structure": "é",
        "pixel_size_angstrom": np.float32(1.5),
        "key": f"{split}-{index}",
        "noise_variance": np.float32(0),
        "ctf": no_ctf(),
    }


@pytest.fixture
def folder(tmp_path) -> Path:
    writer = import_tensorflow().io.TFRecordWriter
    features = example_features(SIZE)
    for split, lengths in LENGTHS.items():
        index = 0
        for shard, length in enumerate(lengths):
            with writer(str(tmp_path / shard_name(split, shard, len(lengths)))) as file:
                for _ in range(length):
                    encoded = features.encode_example(example(split, index))
                    file.write(features.serialize_example(encoded))
                    index += 1
    write_dataset_metadata(
        tmp_path, features=features, shard_lengths=LENGTHS, description="Test data"
    )
    return tmp_path


def test_a_split_comes_back_in_order_with_all_fields(folder):
    fields = load_split(folder, "train")
    assert list(fields["key"]) == [f"train-{index}" for index in range(5)]
    assert list(fields["structure"]) == ["é"] * 5
    assert fields["image"].shape == (5, SIZE, SIZE)
    assert fields["image"].dtype == np.float32
    np.testing.assert_array_equal(fields["image"][:, 0, 0], np.arange(5))
    np.testing.assert_array_equal(fields["shift_angstrom"][2], [2, -2])
    assert {f"ctf/{name}" for name in CTF_FIELDS} < set(fields)


def test_what_is_read_without_tensorflow_is_what_tfds_reads(folder):
    builder = import_tfds().builder_from_directory(folder)
    reading = import_tfds().ReadConfig(interleave_cycle_length=1)
    theirs = list(builder.as_dataset(split="train", read_config=reading).as_numpy_iterator())
    ours = load_split(folder, "train")
    for index, example in enumerate(theirs):
        flat = {name: value for name, value in example.items() if name != "ctf"}
        flat |= {f"ctf/{name}": value for name, value in example["ctf"].items()}
        assert set(flat) == set(ours)
        for name, value in flat.items():
            found = ours[name][index]
            if isinstance(value, bytes):
                assert found == value.decode()
            else:
                assert found.dtype == value.dtype
                np.testing.assert_array_equal(found, value)


def test_a_field_of_another_kind_is_one_clear_line(folder):
    features = json.loads((folder / "features.json").read_text())
    features["featuresDict"]["features"]["noise_variance"]["tensor"]["dtype"] = "int64"
    (folder / "features.json").write_text(json.dumps(features))
    with pytest.raises(InputError, match="'noise_variance' is neither a tensor of float32"):
        load_split(folder, "train")


def test_a_limit_takes_the_first_examples(folder):
    assert list(load_split(folder, "train", limit=2)["key"]) == ["train-0", "train-1"]
    assert len(load_split(folder, "train", limit=99)["key"]) == 5


def test_opening_reads_sizes_and_fields(folder):
    opened = open_folder(folder)
    assert opened.split_sizes == {"train": 5, "test": 1}
    assert {"image", "quaternion", "ctf"} < set(opened.fields)
    assert opened.metadata == {}
    assert opened.volume_path() is None


def test_a_folder_without_features_is_no_dataset(tmp_path):
    with pytest.raises(InputError, match=r"is not a dataset folder: no features\.json; expected"):
        open_folder(tmp_path)
    with pytest.raises(InputError, match="nowhere is not a dataset folder"):
        open_folder(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
@pytest.mark.parametrize("name", ["features.json", "dataset_info.json"])
def test_broken_metadata_is_one_clear_line(folder, name, content):
    (folder / name).write_text(content)
    with pytest.raises(InputError, match=name) as caught:
        open_folder(folder)
    assert "\n" not in str(caught.value)


def test_an_unknown_split_is_quoted_with_the_known_ones(folder):
    with pytest.raises(InputError, match="must be one of 'train', 'test', not 'tset'"):
        load_split(folder, "tset")


def test_a_limit_below_one_is_refused(folder):
    with pytest.raises(InputError, match="limit must be at least 1, not 0"):
        load_split(folder, "train", limit=0)


def damage_end(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 7)


def damage_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [damage_end, damage_middle, Path.unlink])
def test_a_damaged_or_missing_shard_is_one_clear_line(folder, damage):
    damage(folder / shard_name("train", 1, 2))
    with pytest.raises(InputError, match="split 'train' of .* cannot be read") as caught:
        load_split(folder, "train")
    assert "\n" not in str(caught.value)
    for internal in ("{{", "}}", "[Op:", "function_node", "name:"):
        assert internal not in str(caught.value)


def test_a_shard_with_fewer_records_than_the_metadata_says_is_noticed(folder):
    info = folder / "dataset_info.json"
    content = json.loads(info.read_text())
    for split in content["splits"]:
        split["shardLengths"] = [str(int(length) + 1) for length in split["shardLengths"]]
    info.write_text(json.dumps(content))
    with pytest.raises(InputError, match="split 'test'"):
        load_split(folder, "test")
