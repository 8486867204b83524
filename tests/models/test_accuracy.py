import keras
import numpy as np
import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import (
    pairwise_distances,
    quaternions_to_matrices,
    uniform_quaternions,
)
from cryotwin.models.accuracy import SNRS_DB, accuracy_table, distance_accuracy, distance_errors
from cryotwin.models.siamese import build

METADATA = {
    "name": "blobs",
    "pixel_size_angstrom": 8.0,
    "box_px": 16,
    "source_pixel_size_angstrom": 4.0,
    "source_box_px": 32,
    "noise_variance": 1.0,
    "max_shift_px": 2.0,
}


@pytest.fixture(scope="module")
def quaternions():
    return uniform_quaternions(40, np.random.default_rng(0))


@pytest.fixture(scope="module")
def views(quaternions):
    """Projections of three blobs, of variance 1."""
    z, y, x = np.mgrid[:32, :32, :32] - 16
    volume = sum(
        np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 6)
        for a, b, c in [(6, 0, 2), (-2, -7, 0), (-3, 5, 6)]
    )
    images = project_volume(volume, quaternions_to_matrices(quaternions))
    return images / images.std()


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return build("resnet_small", feature_dim=8)


def test_errors_of_distances_are_summed_up_by_their_moments():
    accuracy = distance_accuracy(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 5.0]))
    assert accuracy["distance_mse_rad2"] == pytest.approx(5 / 3)
    assert accuracy["distance_rmse_rad"] == pytest.approx((5 / 3) ** 0.5)
    assert accuracy["distance_bias_rad"] == pytest.approx(-1 / 3)


def test_the_estimated_distances_are_those_of_the_siamese_model(model, views, quaternions):
    estimated, true = distance_errors(model, views, quaternions)

    first, second = np.triu_indices(len(views), 1)
    pairs = [views[first[:50], ..., None], views[second[:50], ..., None]]
    expected = keras.ops.convert_to_numpy(model(pairs, training=False))[:, 0]
    assert np.allclose(estimated[:50], expected, atol=1e-4)
    assert np.allclose(true, pairwise_distances(quaternions)[first, second])


def test_true_distances_are_those_under_the_point_group_of_the_head(model, views, quaternions):
    _, plain = distance_errors(model, views, quaternions)
    dihedral = build("resnet_small", feature_dim=10, symmetry="D2")
    _, symmetric = distance_errors(dihedral, views, quaternions)
    assert (symmetric <= plain + 1e-9).all()
    assert symmetric.max() < 2.1 < plain.max()  # 120 degrees is the largest under D2.


def test_a_row_is_what_perturbing_by_hand_gives(model, views, quaternions):
    rows = accuracy_table(model, METADATA, views, quaternions)

    assert [(row["snr_db"], row["max_shift_px"]) for row in rows] == [
        (snr, shift) for shift in (0, 2) for snr in SNRS_DB
    ]
    # Cropping Fourier space is all that the network's box does to clean images.
    from cryotwin.imaging.fourier import resize_images

    expected = distance_accuracy(*distance_errors(model, resize_images(views, 16), quaternions))
    assert rows[0]["distance_mse_rad2"] == pytest.approx(expected["distance_mse_rad2"], rel=1e-4)
    assert rows[0]["distance_bias_rad"] == pytest.approx(expected["distance_bias_rad"], rel=1e-4)


def test_the_noise_is_that_of_the_source_images(model, views, quaternions, monkeypatch):
    seen = []

    def watch(model, images, quaternions, *, ctf):
        seen.append(images)
        return np.zeros(3), np.zeros(3)

    monkeypatch.setattr("cryotwin.models.accuracy.distance_errors", watch)
    whole = METADATA | {"pixel_size_angstrom": 4.0, "box_px": 32}

    accuracy_table(model, whole, views, quaternions, snrs_db=(None, 0.0, -12.0), max_shifts_px=(0,))

    clean, weak, strong = seen
    assert np.array_equal(clean, views.astype(np.float32))
    assert np.var(weak - clean) == pytest.approx(1, rel=0.03)
    assert np.var(strong - clean) == pytest.approx(10**1.2, rel=0.03)
    # The same noise, only stronger: rows can be compared.
    assert np.allclose((strong - clean) / 10**0.6, weak - clean, atol=1e-4)


def test_an_estimator_without_shifts_is_tried_with_some(model, views, quaternions):
    rows = accuracy_table(
        model, METADATA | {"max_shift_px": 0.0}, views, quaternions, snrs_db=(None,)
    )
    assert [row["max_shift_px"] for row in rows] == [0, 1]


def test_the_table_can_be_repeated_and_depends_on_its_seed(model, views, quaternions):
    def table(seed):
        return accuracy_table(model, METADATA, views, quaternions, snrs_db=(-3.0,), seed=seed)

    assert table(1) == table(1)
    assert table(1) != table(2)


def test_a_single_view_has_no_distance(model, views, quaternions):
    with pytest.raises(InputError, match="at least 2 images, not 1"):
        accuracy_table(model, METADATA, views[:1], quaternions[:1])


def test_images_that_are_not_finite_are_named(model, views, quaternions):
    broken = views.copy()
    broken[5, 3, 3] = np.nan
    with pytest.raises(InputError, match="image 5 has values that are not finite"):
        distance_errors(model, broken, quaternions)
