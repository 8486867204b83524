import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryotwin.datasets.batch_plan import batches_in_epoch, check_plan, plan_epoch
from cryotwin.imaging.errors import InputError

shapes = st.fixed_dictionaries(
    {"structures_per_batch": st.integers(1, 3), "particles": st.integers(2, 5)}
)


@given(st.lists(st.integers(5, 23), min_size=1, max_size=5), shapes, st.integers(0, 9))
def test_a_batch_holds_whole_groups_of_one_structure_and_no_particle_comes_twice(
    counts, shape, epoch
):
    structure_of = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    if sum(count // shape["particles"] for count in counts) < shape["structures_per_batch"]:
        return
    plan = plan_epoch(structure_of, seed=1, epoch=epoch, **shape)
    assert plan.shape == (
        batches_in_epoch(structure_of, **shape),
        shape["structures_per_batch"] * shape["particles"],
    )
    assert len(np.unique(plan)) == plan.size
    groups = structure_of[plan].reshape(-1, shape["particles"])
    assert (groups == groups[:, :1]).all()


def test_a_batch_of_several_structures_mixes_them():
    structure_of = np.repeat(np.arange(4), 40)
    plan = plan_epoch(structure_of, structures_per_batch=4, particles=8, seed=0, epoch=0)
    for batch in structure_of[plan]:
        np.testing.assert_array_equal(np.unique(batch), np.arange(4))


def test_the_order_changes_with_the_epoch_and_the_seed_and_with_nothing_else():
    structure_of = np.repeat(np.arange(2), 30)
    shape = {"structures_per_batch": 2, "particles": 5}
    plans = [
        plan_epoch(structure_of, seed=seed, epoch=epoch, **shape)
        for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0))
    ]
    np.testing.assert_array_equal(plans[0], plans[3])
    assert not np.array_equal(plans[0], plans[1])
    assert not np.array_equal(plans[0], plans[2])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"structures_per_batch": 0, "particles": 2}, "structures_per_batch .* at least 1, not 0"),
        ({"structures_per_batch": 1, "particles": 1}, "particles_per_structure .* 2, not 1"),
        ({"structures_per_batch": 1, "particles": 7}, "at most 6, the particles of b, not 7"),
        ({"structures_per_batch": 9, "particles": 4}, "at most 3, the groups of 4 .*, not 9"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shape, message):
    with pytest.raises(InputError, match=message):
        check_plan(np.repeat([0, 1], [8, 6]), ("a", "b"), **shape)
