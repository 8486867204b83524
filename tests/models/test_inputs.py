import numpy as np
import pytest

from cryotwin.imaging.ctf import (
    CtfParameters,
    apply_ctf,
    flip_phases,
    full_contrast_transfer,
)
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions
from cryotwin.models.features import extract_features
from cryotwin.models.inputs import (
    check_estimator_symmetry,
    check_images,
    estimator_inputs,
    fit_images,
)
from cryotwin.models.siamese import build

BOX, PIXEL_A = 32, 4.0
ESTIMATOR = {"name": "blob", "box_px": BOX, "pixel_size_angstrom": PIXEL_A}


def _images(size, pixel_size):
    """Projections of three Gaussians within 40 A of the centre, as line integrals in angstrom."""
    z, y, x = (np.mgrid[:size, :size, :size] - size // 2) * pixel_size
    volume = sum(
        np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 200)
        for a, b, c in [(14, 0, 4), (-4, -18, 0), (-8, 12, 15)]
    )
    rotations = quaternions_to_matrices(uniform_quaternions(5, np.random.default_rng(0)))
    return pixel_size * project_volume(volume, rotations)


@pytest.fixture(scope="module")
def wanted():
    return _images(BOX, PIXEL_A)


@pytest.mark.parametrize(
    ("size", "pixel_size"),
    [(64, 2.0), (48, 4.0), (33, 4.0), (30, 4.0), (27, 4.0), (60, 3.2), (26, 5.0)],
)
def test_images_of_another_grid_become_those_that_the_estimator_knows(size, pixel_size, wanted):
    fitted = fit_images(_images(size, pixel_size), pixel_size, ESTIMATOR)

    assert fitted.shape == wanted.shape
    assert fitted.dtype == np.float32
    assert np.abs(fitted - wanted).max() < 0.02 * wanted.max()


def test_images_that_fit_are_left_alone(wanted):
    assert np.array_equal(fit_images(wanted, PIXEL_A, ESTIMATOR), wanted)
    assert np.array_equal(fit_images(wanted, 1.01 * PIXEL_A, ESTIMATOR), wanted)


def test_an_estimator_that_tells_no_pixel_size_takes_images_as_they_are(wanted):
    assert np.array_equal(fit_images(wanted, 9.0, {}), wanted)
    assert np.array_equal(fit_images(wanted, 9.0, {"box_px": 16}), wanted)


@pytest.mark.parametrize(("size", "pixel_size"), [(64, 2.0), (60, 3.2), (33, 4.0), (32, 4.0)])
def test_the_ctf_of_fitted_images_is_the_one_at_their_pixels(size, pixel_size, wanted):
    ctf = CtfParameters(9000.0, 8000.0, 0.3)
    images = _images(size, pixel_size)

    fitted, transfer = estimator_inputs(
        apply_ctf(images, ctf, pixel_size), pixel_size, ESTIMATOR | {"takes_ctf": True}, ctf
    )

    assert transfer.shape == (1, BOX, BOX)
    assert np.allclose(transfer, full_contrast_transfer(ctf, BOX, PIXEL_A), atol=1e-5)
    assert np.abs(fitted - apply_ctf(wanted, ctf, PIXEL_A)).max() < 0.05 * wanted.max()


def test_phases_are_flipped_before_images_are_fitted():
    ctf, images = CtfParameters(9000.0, 8000.0, 0.3), _images(64, 2.0)

    fitted, transfer = estimator_inputs(images, 2.0, ESTIMATOR | {"phase_flip": True}, ctf)

    assert transfer is None
    assert np.array_equal(fitted, fit_images(flip_phases(images, ctf, 2.0), 2.0, ESTIMATOR))


@pytest.mark.parametrize("wish", ["takes_ctf", "phase_flip"])
def test_a_ctf_that_the_estimator_needs_and_nobody_knows_is_told(wish, wanted):
    with pytest.raises(InputError, match="blob needs the CTF of each image"):
        estimator_inputs(wanted, PIXEL_A, ESTIMATOR | {wish: True})
    assert np.array_equal(estimator_inputs(wanted, PIXEL_A, ESTIMATOR)[0], wanted)


@pytest.mark.parametrize("size", [26, 27])
def test_a_smaller_box_is_padded_with_the_grey_of_its_border(size):
    images = np.arange(3)[:, None, None] + np.zeros((3, size, size), np.float32)

    fitted = fit_images(images, PIXEL_A, ESTIMATOR)

    assert fitted.shape == (3, BOX, BOX)
    assert np.allclose(fitted, images[:, :1, :1])


def test_a_field_of_view_that_cuts_the_particle_is_refused_with_both_sizes(wanted):
    with pytest.raises(InputError, match=r"32 px at 2 A show 64 A.*blob.*128 A.*80%"):
        fit_images(wanted, 2.0, ESTIMATOR)


@pytest.mark.parametrize("pixel_size", [0.0, -1.0, float("nan"), float("inf")])
def test_a_pixel_size_that_is_none_is_refused(pixel_size, wanted):
    with pytest.raises(InputError, match="pixel size must be above 0"):
        fit_images(wanted, pixel_size, ESTIMATOR)


def _broken(value, index=2):
    images = np.random.default_rng(0).standard_normal((4, 16, 16)).astype(np.float32)
    images[index, 5, 5] = value
    return images


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((16, 16), np.float32), r"\(P, N, N\).*not \(16, 16\)"),
        (np.zeros((3, 16, 18), np.float32), r"not \(3, 16, 18\)"),
        (np.ones((3, 8, 8), np.float32), "8 px are too small.*at least 16 px"),
        (np.zeros((0, 16, 16), np.float32), "there are no images"),
        (_broken(np.nan).astype(complex), "must be real numbers, not complex128"),
        (_broken(np.nan), "image 2 has values that are not finite"),
        (_broken(np.inf, index=3), "image 3 has values that are not finite"),
        (np.ones((2, 16, 16), np.float32), "image 0 is constant"),
        (np.full((2, 17, 17), 1000.1, np.float32), "image 0 is constant"),
    ],
)
def test_images_that_hold_no_particles_are_named(images, message):
    with pytest.raises(InputError, match=message) as caught:
        check_images(images)
    assert "\n" not in str(caught.value)


def test_a_bad_image_is_told_with_its_name_and_its_file():
    with pytest.raises(InputError, match=r"^run\.star: image 000003@a\.mrcs has values"):
        check_images(
            _broken(np.nan), source="run.star", keys=[f"{i:06d}@a.mrcs" for i in range(1, 5)]
        )


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((16, 16), np.float32), r"\(P, N, N\).*not \(16, 16\)"),
        (_broken(np.nan), "image 2 has values that are not finite"),
        (np.ones((2, 16, 16), np.float32), "image 0 is constant"),
        (np.zeros((0, 16, 16), np.float32), "there are no images"),
    ],
)
def test_features_of_such_images_are_refused_too(images, message):
    extractor = build("resnet_small", feature_dim=4).get_layer("extractor")
    with pytest.raises(InputError, match=message):
        extract_features(extractor, images)


def test_features_do_not_depend_on_the_kind_of_numbers():
    extractor = build("resnet_small", feature_dim=4).get_layer("extractor")
    images = np.random.default_rng(0).integers(0, 255, (3, 16, 16), dtype=np.uint8)
    expected = extract_features(extractor, images.astype(np.float32))
    assert np.array_equal(extract_features(extractor, images), expected)
    assert np.array_equal(extract_features(extractor, images.astype(np.float64)), expected)


def test_an_estimator_of_another_point_group_is_refused():
    metadata = {"name": "5a1a-clean", "structure": "5a1a", "symmetry": "D2"}
    with pytest.raises(InputError, match=r"must be 'D2'.*5a1a-clean \(5a1a\).*not 'C1'"):
        check_estimator_symmetry("C1", metadata)
    check_estimator_symmetry("d2", metadata)
    check_estimator_symmetry("I", {"symmetry": "I2"})
    check_estimator_symmetry("C7", {})


def test_images_of_any_grey_pass():
    check_images(1e-9 * _broken(0.0))
    check_images(_broken(0.0) - 1e5)


def test_pixels_much_coarser_than_the_estimators_are_refused():
    images = np.random.default_rng(0).standard_normal((2, 64, 64)).astype(np.float32)
    with pytest.raises(InputError, match="pixels of 100 A, but .* trained on 2 A"):
        fit_images(images, 100.0, {"name": "e", "pixel_size_angstrom": 2.0, "box_px": 64})
