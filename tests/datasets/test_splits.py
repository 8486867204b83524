import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryotwin.datasets.splits import (
    SPLITS,
    cluster_splits,
    even_parts,
    split_indices,
    split_sizes,
)
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


@given(
    st.dictionaries(st.text(), st.integers(1, 500), min_size=3, max_size=40), st.integers(0, 2**32)
)
def test_clusters_fill_every_split_and_pass_its_share_by_one_at_most(sizes, seed):
    chosen = cluster_splits(sizes, seed=seed)
    assert set(chosen) == set(sizes)
    assert set(chosen.values()) == set(SPLITS)
    for split, share in split_sizes(sum(sizes.values())).items():
        own = [sizes[name] for name, split_of in chosen.items() if split_of == split]
        assert sum(own) - share <= max(own)


def test_many_small_clusters_give_the_shares_of_table_1():
    chosen = cluster_splits({f"c{number}": 5 for number in range(1000)}, seed=4)
    counts = {split: 5 * list(chosen.values()).count(split) for split in SPLITS}
    for split, share in split_sizes(5000).items():
        assert abs(counts[split] - share) <= 5


def test_the_seed_and_not_the_order_deals_the_clusters():
    sizes = {f"c{number}": 10 for number in range(30)}
    turned = dict(reversed(sizes.items()))
    assert cluster_splits(sizes, seed=1) == cluster_splits(turned, seed=1)
    assert cluster_splits(sizes, seed=1) != cluster_splits(sizes, seed=2)


def test_two_clusters_are_too_few_for_three_splits():
    with pytest.raises(InputError, match="at least 3 to fill the splits .*, not 2"):
        cluster_splits({"a": 10, "b": 10}, seed=0)
