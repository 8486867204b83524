import mrcfile
import numpy as np
import pytest

from cryotwin.imaging.density import density_map, largest_diameter
from cryotwin.imaging.maps import DensityMap, map_centre
from cryotwin.imaging.particle_maps import brighten, measure_contrast
from cryotwin.imaging.structures import Atoms, read_structure

PIXEL = 4.0


@pytest.fixture(scope="module")
def particle() -> np.ndarray:
    """7CFN off the middle of its box, at 12 A."""
    atoms = read_structure("7cfn")
    assert isinstance(atoms, Atoms)
    volume = density_map(atoms, resolution_angstrom=12, pixel_size_angstrom=PIXEL, size=48)
    return np.roll(np.pad(volume, 4), (3, -2, 4), axis=(0, 1, 2))


def as_map(data: np.ndarray) -> DensityMap:
    return DensityMap(np.asarray(data, dtype=np.float32), (PIXEL,) * 3, "made", "made")


def without_low_frequencies(volume: np.ndarray, cutoff_angstrom: float) -> np.ndarray:
    """What a map looks like that was filtered, or made from images with a CTF: edges ring."""
    frequencies = np.meshgrid(*[np.fft.fftfreq(n, PIXEL) for n in volume.shape], indexing="ij")
    squared = sum(f**2 for f in frequencies) * cutoff_angstrom**2
    return np.fft.ifftn(np.fft.fftn(volume) * -np.expm1(-squared / 2)).real


def noise(volume: np.ndarray, share: float) -> np.ndarray:
    return share * volume.max() * np.random.default_rng(0).standard_normal(volume.shape)


def crop(volume: np.ndarray) -> np.ndarray:
    inside = np.argwhere(volume > 0.2 * volume.max())
    return volume[tuple(map(slice, inside.min(axis=0), inside.max(axis=0) + 1))]


VARIANTS = {
    "as it is": lambda v: v,
    "scaled": lambda v: 1e-4 * v,
    "with noise": lambda v: v + noise(v, 0.3),
    "without low frequencies": lambda v: without_low_frequencies(v, 60),
    "a tight box": crop,
    "on a level": lambda v: v + v.max(),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_dark_matter_is_turned_bright_and_bright_matter_is_kept(particle, variant):
    right = VARIANTS[variant](particle).astype(np.float32)
    kept, turned = brighten(as_map(right)), brighten(as_map(-right))
    assert (kept.report["contrast"], turned.report["contrast"]) == ("as stored", "inverted")
    np.testing.assert_allclose(turned.data, kept.data, atol=1e-6 * np.abs(right).max())
    assert "matter was dark: the sign was turned" in turned.report["notes"]
    if variant != "on a level":
        np.testing.assert_array_equal(kept.data, right)


def test_a_level_of_the_solvent_is_taken_off(particle):
    lifted = brighten(as_map(100 - 50 * particle / particle.max()))
    assert lifted.report["solvent_subtracted"]
    assert lifted.report["solvent_level"] == pytest.approx(100)
    np.testing.assert_allclose(lifted.data, 50 * particle / particle.max(), atol=1e-4)


def test_noise_alone_keeps_its_sign():
    rng = np.random.default_rng(3)
    for size in (8, 24, 40):
        data = rng.standard_normal((size,) * 3).astype(np.float32)
        assert measure_contrast(data).verdict == "unclear"
        np.testing.assert_array_equal(brighten(as_map(data)).data, data)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_noise_in_the_solvent_moves_neither_centre_nor_diameter(particle, share):
    clean, noisy = as_map(particle), as_map(particle + noise(particle, share))
    shift = np.linalg.norm(map_centre(noisy) - map_centre(clean))
    assert shift < 1.0
    assert largest_diameter(noisy) == pytest.approx(largest_diameter(clean), rel=0.12)
    assert 0.6 < noisy.particle.sum() / clean.particle.sum() < 1.7


def test_noise_and_a_particle_at_the_faces_are_noted(particle):
    assert brighten(as_map(particle)).report["notes"] == []
    noted = brighten(as_map(particle + noise(particle, 0.3))).report["notes"]
    assert noted == ["the solvent is noisy, and is projected with the particle"]
    (cut,) = brighten(as_map(crop(particle)[4:-4])).report["notes"]
    assert cut.startswith("the particle reaches the faces of its box")


def test_a_dark_map_in_a_file_is_read_bright_with_a_report(particle, tmp_path):
    with mrcfile.new(tmp_path / "dark.mrc", -particle.astype(np.float32)) as file:
        file.voxel_size = PIXEL
    read = read_structure(str(tmp_path / "dark.mrc"))
    assert isinstance(read, DensityMap)
    np.testing.assert_array_equal(read.data, particle.astype(np.float32))
    assert read.report["kind"] == "map"
    assert read.report["stored_axes"] == "xyz"
    assert read.report["voxel_size_angstrom"] == pytest.approx([PIXEL] * 3)
