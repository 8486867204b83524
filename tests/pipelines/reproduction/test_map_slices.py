import json

import numpy as np

from cryotwin.pipelines.reproduction.map_slices import read_slice, shown_slice
from cryotwin.pipelines.reproduction.run import jsonable


def test_a_slice_is_the_inner_part_of_the_middle_one_in_grey_levels():
    volume = np.zeros((8, 8, 8))
    volume[4, 3, 4] = 2.0  # z, y, x
    expected = np.zeros((6, 6), int)
    expected[2, 3] = 255
    np.testing.assert_array_equal(read_slice(jsonable(shown_slice(volume))), expected)


def test_a_large_map_takes_few_pixels():
    large = np.random.default_rng(0).normal(size=(116, 116, 116))
    assert read_slice(shown_slice(large)).shape == (36, 36)
    assert len(json.dumps(shown_slice(large))) < 5_000


def test_a_constant_map_is_drawn_as_well():
    assert not read_slice(shown_slice(np.ones((16, 16, 16)))).any()
