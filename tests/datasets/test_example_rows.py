import numpy as np
import pytest

from cryotwin.datasets.example_reading import read_examples, read_rows, shard_paths
from cryotwin.pipelines.command_line import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """20 test particles in shards of at most 7."""
    out = tmp_path_factory.mktemp("rows") / "data"
    words = ["generate", "7cfn", "--out", str(out), "--count", "60", "--size", "16"]
    assert main([*words, "--particles-per-shard", "7"]) == 0
    return out


@pytest.mark.parametrize("rows", [[0], [3, 4, 5, 6, 7], [0, 6, 7, 19], range(20), []])
def test_rows_of_any_shards_are_those_of_reading_all(folder, rows):
    everything = list(read_examples(folder, "test"))

    found = list(read_rows(folder, "test", rows))

    assert [one["key"] for one in found] == [everything[row]["key"] for row in rows]
    for one, row in zip(found, rows, strict=True):
        assert np.array_equal(one["image"], everything[row]["image"])


def test_rows_that_are_not_there_and_damage_are_told(folder):
    with pytest.raises(OSError, match="has 20 examples in 'test', not 21"):
        list(read_rows(folder, "test", [20]))
    shard = shard_paths(folder, "test")[1]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert len(list(read_rows(folder, "test", [0]))) == 1
    with pytest.raises(OSError, match="is damaged"):
        list(read_rows(folder, "test", range(20)))
