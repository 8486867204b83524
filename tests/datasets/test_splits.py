import numpy as np
import pytest

from cryotwin.datasets.splits import SPLITS, even_parts, split_indices, split_sizes
from cryotwin.imaging.errors import InputError


def test_five_thousand_particles_split_as_in_the_papers_table_1():
    assert split_sizes(5000) == {"train": 2512, "validation": 838, "test": 1650}


@pytest.mark.parametrize("count", [3, 4, 7, 100, 101, 12345])
def test_no_particle_is_lost_and_no_split_is_empty(count):
    parts = split_indices(count, seed=1, structure="7cfn")
    assert tuple(parts) == SPLITS
    assert all(len(part) > 0 for part in parts.values())
    assert sorted(np.concatenate(list(parts.values()))) == list(range(count))


def test_a_split_belongs_to_the_seed_and_the_structure():
    first = split_indices(100, seed=1, structure="a")["test"]
    assert np.array_equal(first, split_indices(100, seed=1, structure="a")["test"])
    assert not np.array_equal(first, split_indices(100, seed=2, structure="a")["test"])
    assert not np.array_equal(first, split_indices(100, seed=1, structure="b")["test"])


def test_two_particles_are_too_few_for_three_splits():
    with pytest.raises(InputError, match="count must be at least 3, not 2"):
        split_sizes(2)


def test_parts_are_even_in_order_and_no_larger_than_asked():
    parts = even_parts(np.arange(11), 4)
    assert [len(part) for part in parts] == [4, 4, 3]
    assert list(np.concatenate(parts)) == list(range(11))
