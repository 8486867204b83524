import builtins

import numpy as np
import pytest

from cryotwin.imaging import astra_projection
from cryotwin.imaging.astra_projection import geometry_vectors
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.projection import backproject_images, make_projector, project_volume
from cryotwin.imaging.rotations import (
    quaternions_to_matrices,
    rotation_vectors_to_matrices,
    uniform_quaternions,
)

POINTS = np.array([[5.0, -3.0, 2.0], [-4.5, 1.25, -6.0], [0.5, 6.0, 3.5], [0.0, 0.0, 0.0]])
"""Of small Gaussians, as x, y, z in voxels from the origin voxel."""


@pytest.fixture(scope="module")
def astra():
    return pytest.importorskip("astra", exc_type=ImportError)


def _rotations(count, seed=0):
    return quaternions_to_matrices(uniform_quaternions(count, np.random.default_rng(seed)))


def _tilts_about_y(angles):
    return rotation_vectors_to_matrices(np.asarray(angles)[:, None] * [0.0, 1.0, 0.0])


def _gaussians(size, sigma=2.0):
    axis = np.arange(size) - size // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = np.zeros((size,) * 3, dtype=np.float32)
    for weight, (cx, cy, cz) in enumerate(POINTS, start=1):
        square = (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2
        volume += weight * np.exp(-square / (2 * sigma**2)).astype(np.float32)
    return volume


def _relative_difference(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("size", [31, 32])
def test_the_ray_of_a_pixel_passes_through_the_points_that_project_there(size):
    """As ASTRA places things: element i of n lies at i - (n - 1) / 2, on a grid or a detector."""
    middle, origin = (size - 1) / 2, size // 2
    rotations = _rotations(20)

    for rotation, row in zip(rotations, geometry_vectors(rotations, size), strict=True):
        ray, centre, u, v = row.reshape(4, 3)
        for point in POINTS:
            column, line, _ = rotation @ point + origin
            pixel = centre + (column - middle) * u + (line - middle) * v
            voxel = point + origin - middle
            assert np.allclose(np.cross(voxel - pixel, ray), 0, atol=1e-9)
            assert np.isclose(np.linalg.norm(ray), 1)


def test_an_even_box_has_its_origin_half_a_voxel_from_the_middle():
    identity = np.eye(3)[None]

    even, odd = geometry_vectors(identity, 32)[0], geometry_vectors(identity, 31)[0]

    assert np.allclose(odd[3:6], 0)
    # Along the ray the place of the detector does not matter: only x and y count.
    assert np.allclose(even[3:5], 0)
    turned = geometry_vectors(np.diag([-1.0, -1.0, 1.0])[None], 32)[0]
    assert np.allclose(turned[3:5], 1)


def test_the_vectors_are_those_that_astra_makes_of_its_own_rotation(astra):
    """ASTRA turns about z, with the rays along y at angle 0 and the detector's rows along z."""
    angles = np.radians([0.0, 30.0, 100.0, 250.0])
    geometry = astra.create_proj_geom("parallel3d", 1.0, 1.0, 31, 31, angles)
    expected = astra.functions.geom_2vec(geometry)["Vectors"]
    cosine, sine, zero = np.cos(angles), np.sin(angles), np.zeros(4)
    rows = [[cosine, sine, zero], [zero, zero, zero + 1], [sine, -cosine, zero]]
    rotations = np.moveaxis(np.array(rows), -1, 0)

    assert np.allclose(geometry_vectors(rotations, 31), expected)


@pytest.mark.parametrize("size", [39, 40])
@pytest.mark.parametrize(("kind", "bound"), [("strip", 0.016), ("linear", 0.012)])
def test_astra_in_two_dimensions_sees_the_same_tilts_about_y(astra, size, kind, bound):
    """Slice by slice with the same vectors; ASTRA's plane is (x, -z), its first row is on top."""
    volume, rotations = _gaussians(size), _tilts_about_y(np.radians([0.0, 25.0, 70.0, 140.0, 250]))
    ray, centre, u, _ = geometry_vectors(rotations, size).reshape(-1, 4, 3).transpose(1, 0, 2)
    flat = [vectors[:, [0, 2]] * [1, -1] for vectors in (ray, centre, u)]
    geometry = astra.create_proj_geom("parallel_vec", size, np.concatenate(flat, axis=1))
    projector = astra.create_projector(kind, geometry, astra.create_vol_geom(size, size))

    images = np.empty((len(rotations), size, size), dtype=np.float32)
    try:
        for y in range(size):
            data_id, lines = astra.create_sino(volume[:, y, :], projector)
            astra.data2d.delete(data_id)
            images[:, y] = lines
    finally:
        astra.projector.delete(projector)

    assert _relative_difference(images, project_volume(volume, rotations)) < bound


def test_a_tolerance_is_refused():
    with pytest.raises(InputError, match="'astra' takes no tolerance, not 0.001"):
        make_projector(np.zeros((8, 8, 8)), backend="astra", tolerance=1e-3)


def test_no_cuda_device_is_said_in_one_line(astra, monkeypatch):
    monkeypatch.setattr(astra, "use_cuda", lambda: False)

    for work in (
        lambda: project_volume(np.zeros((8, 8, 8)), np.eye(3)[None], backend="astra"),
        lambda: backproject_images(np.zeros((1, 8, 8)), np.eye(3)[None], backend="astra"),
    ):
        with pytest.raises(InputError, match="needs a CUDA device and finds none; [^\n]*$"):
            work()


def test_a_missing_package_is_said_in_one_line(monkeypatch):
    real = builtins.__import__

    def without_astra(name, *arguments, **options):
        if name == "astra":
            raise ImportError("no such package")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_astra)

    with pytest.raises(InputError, match="needs the package astra-toolbox[^\n]*no such package"):
        make_projector(np.zeros((8, 8, 8)), backend="astra")


def test_what_astra_leaves_unwritten_is_noticed(astra, monkeypatch):
    """Without a device ASTRA would end the process, so its run is left out here."""
    monkeypatch.setattr(astra, "use_cuda", lambda: True)
    monkeypatch.setattr(astra_projection, "_run", lambda *arguments: None)

    with pytest.raises(RuntimeError, match="pixels unwritten"):
        project_volume(np.zeros((8, 8, 8)), np.eye(3)[None], backend="astra")
    with pytest.raises(RuntimeError, match="voxels unwritten"):
        backproject_images(np.zeros((1, 8, 8)), np.eye(3)[None], backend="astra")


@pytest.mark.gpu
@pytest.mark.parametrize("size", [63, 64])
def test_astra_on_a_gpu_sees_what_the_reference_sees(astra, size):
    volume, rotations = _gaussians(size, sigma=3.0), _rotations(300)

    images = project_volume(volume, rotations, backend="astra")

    assert _relative_difference(images, project_volume(volume, rotations)) < 0.01


@pytest.mark.gpu
@pytest.mark.parametrize("size", [63, 64])
def test_astra_on_a_gpu_smears_back_what_the_reference_smears_back(astra, size):
    rotations = _rotations(300)
    images = project_volume(_gaussians(size, sigma=3.0), rotations)

    smeared = backproject_images(images, rotations, backend="astra")

    # BP3D reads images outside the sphere that all of them cover; within it the two agree.
    axis = (np.arange(size) - size // 2) ** 2
    ball = axis[:, None, None] + axis[:, None] + axis < (size / 2 - 2) ** 2
    expected = backproject_images(images, rotations)
    assert _relative_difference(smeared[ball], expected[ball]) < 0.02


@pytest.mark.gpu
def test_the_mismatch_of_astras_pair_on_a_gpu_is_small(astra):
    """FP3D_CUDA interpolates in the volume, BP3D_CUDA on the detector: no matched pair."""
    volume, rotations = _gaussians(64, sigma=3.0), _rotations(300)
    images = project_volume(volume, _rotations(300, seed=1))

    forward = np.vdot(project_volume(volume, rotations, backend="astra"), images)
    back = np.vdot(volume, backproject_images(images, rotations, backend="astra"))

    assert abs(forward - back) < 0.02 * abs(forward)
