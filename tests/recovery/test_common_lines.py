import numpy as np

from cryotwin.imaging.point_groups import symmetry_matrices
from cryotwin.imaging.rotations import (
    quaternions_to_matrices,
    rotation_vectors_to_matrices,
    uniform_quaternions,
)
from cryotwin.recovery.common_lines import line_places, pair_up


def _matrices(count, seed):
    return quaternions_to_matrices(uniform_quaternions(count, np.random.default_rng(seed)))


def test_turning_every_detector_moves_the_common_lines_of_both_images_alike():
    relative = pair_up(_matrices(6, 1), most_lines=100).relative
    left = _matrices(1, 2)[0]
    turn = rotation_vectors_to_matrices([0.0, 0.0, 10 * np.pi / 60])

    before = line_places(relative, left, 60)
    after = line_places(relative, turn @ left, 60)

    for one, other in zip(before, after, strict=True):
        assert ((other - one) % 120 == 10).all()


def test_lines_lie_along_one_direction_of_the_object_for_each_element_of_the_group():
    matrices, group = _matrices(4, 3), symmetry_matrices("D3")
    pairs = pair_up(matrices, symmetry="D3", most_lines=1000)
    lines = 3600

    first, second = line_places(pairs.relative, np.eye(3), lines)

    def directions(images, places):
        angles = places * np.pi / lines
        plane = np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], axis=-1)
        return np.einsum("ngx,nxy->ngy", plane, matrices[images])

    in_first, in_second = directions(pairs.first, first), directions(pairs.second, second)
    turned = np.einsum("ngx,gxy->ngy", in_first, group)
    assert np.allclose(turned, in_second, atol=2 * np.pi / lines)


def test_all_pairs_are_taken_or_as_many_as_have_so_many_lines():
    matrices = _matrices(10, 4)

    everything = pair_up(matrices, most_lines=45)
    some = pair_up(matrices, symmetry="D2", most_lines=40, seed=1)

    assert len(everything) == 45
    assert (everything.first < everything.second).all()
    assert some.relative.shape == (10, 4, 3, 3)
    assert len(set(zip(some.first.tolist(), some.second.tolist(), strict=True))) == 10
