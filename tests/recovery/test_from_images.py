import keras
import numpy as np
import pytest

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.microscope import signal_variance, snr_from_db
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions
from cryotwin.imaging.structures import read_structure
from cryotwin.imaging.volumes import structure_volume
from cryotwin.models.model_files import list_models, load, read_metadata
from cryotwin.models.siamese import build
from cryotwin.recovery.alignment import align_orientations
from cryotwin.recovery.from_images import recover
from cryotwin.recovery.handedness import mirror_volume

COUNT = 300
NAME = "7cfn"

published = pytest.mark.skipif(
    NAME not in [entry["name"] for entry in list_models()], reason=f"{NAME} is not published"
)


@pytest.fixture(scope="module")
def particles():
    """Views of the bundled structure at -6 dB, 64 px, with the truth and the pixel size."""
    found = structure_volume(read_structure(NAME), size=64)
    volume = found.volume / np.sqrt(signal_variance(found.volume))
    rng = np.random.default_rng(77)
    quaternions = uniform_quaternions(COUNT, rng)
    clean = project_volume(volume, quaternions_to_matrices(quaternions))
    noise = rng.standard_normal(clean.shape) / np.sqrt(snr_from_db(-6))
    return (clean + noise).astype(np.float32), quaternions, found.pixel_size_angstrom


@pytest.fixture(scope="module")
def recovery(particles):
    images, _, pixel_size = particles
    stages = []
    found = recover(
        images,
        load(NAME),
        pixel_size_angstrom=pixel_size,
        estimator_metadata=read_metadata(NAME),
        seed=5,
        threads=1,
        progress=stages.append,
    )
    return found, stages


@published
def test_orientations_are_found_from_noisy_images_alone(recovery, particles):
    found, _ = recovery
    errors = align_orientations(found.quaternions, particles[1]).errors
    assert errors.mean() < 0.12
    assert found.metrics["embedding_trusted"]
    assert found.metrics["common_line_score"]["after"] > 0.05


@published
def test_the_map_projects_to_the_images_that_it_was_made_from(recovery, particles):
    found, _ = recovery
    images = particles[0]
    predicted = project_volume(found.volume, quaternions_to_matrices(found.quaternions))
    assert found.volume.shape == (64, 64, 64)
    own = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(predicted, images, strict=True)]
    other = [
        np.corrcoef(a.ravel(), b.ravel())[0, 1]
        for a, b in zip(predicted, images[::-1], strict=True)
    ]
    assert np.mean(own) > np.mean(other) + 0.05


@published
def test_what_was_found_is_complete_and_of_one_length(recovery):
    found, stages = recovery
    assert found.quaternions.shape == (COUNT, 4)
    assert (found.quaternions[:, 0] >= 0).all()
    assert np.array_equal(found.shifts_px, np.zeros((COUNT, 2)))
    assert found.confidence.shape == (COUNT,)
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()
    assert found.distances.shape == (COUNT * (COUNT - 1) // 2, 3)
    assert found.half_maps_compared.fsc.shape == (33,)
    assert list(found.metrics["seconds"]) == [
        "features",
        "embedding",
        "gauge",
        "confidence",
        "refinement",
        "reconstruction",
    ]
    told = dict.fromkeys(stage for stage in stages if stage in found.metrics["seconds"])
    assert list(told) == list(found.metrics["seconds"])
    assert found.metrics["particles"] == COUNT


@published
def test_without_refinement_the_embedding_is_the_answer_and_the_same_again(particles):
    images, true, pixel_size = particles
    settings = {"pixel_size_angstrom": pixel_size, "refine": False, "seed": 5, "threads": 1}
    estimator = load(NAME)

    first, second = (recover(images[:120], estimator, **settings) for _ in range(2))

    assert first.rounds == []
    assert "refinement" not in first.metrics["seconds"]
    assert np.array_equal(first.quaternions, second.quaternions)
    assert np.array_equal(first.volume, second.volume)
    assert align_orientations(first.quaternions, true[:120]).mean_error < 0.4


@pytest.fixture(scope="module")
def untrained():
    keras.utils.set_random_seed(0)
    return build("resnet_small", feature_dim=8)


def _noise(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _with(value):
    images = _noise(60, 16, 16)
    images[7, 3, 3] = value
    return images


def _constant():
    images = _noise(60, 16, 16)
    images[9] = 0.1
    return images


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (_noise(20, 16, 16), "at least 50 particles, not 20"),
        (_noise(0, 16, 16), "there are no images"),
        (_with(np.nan), "image 7 has values that are not finite"),
        (_with(-np.inf), "image 7 has values that are not finite"),
        (_constant(), "image 9 is constant"),
        (_noise(60, 16, 20), r"square images, not \(60, 16, 20\)"),
        (_noise(16, 16), r"square images, not \(16, 16\)"),
        (_noise(60, 8, 8), "8 px are too small"),
    ],
)
def test_images_that_cannot_be_used_are_told_in_one_line(images, message, untrained):
    with pytest.raises(InputError, match=message) as caught:
        recover(images, untrained, pixel_size_angstrom=3.0)
    assert "\n" not in str(caught.value)


def test_settings_that_cannot_be_used_are_told_in_one_line(untrained):
    images = _noise(60, 16, 16)
    with pytest.raises(InputError, match="symmetry must be 'C1'.*not 'C7'"):
        recover(images, untrained, pixel_size_angstrom=3.0, symmetry="C7")
    with pytest.raises(InputError, match="pixel size must be above 0 angstrom, not 0"):
        recover(images, untrained, pixel_size_angstrom=0.0)
    with pytest.raises(InputError, match="seed must be at least 0, not -1"):
        recover(images, untrained, pixel_size_angstrom=3.0, seed=-1)
    with pytest.raises(InputError, match="must be 'D2', which the estimator e .5a1a. was"):
        recover(
            images,
            untrained,
            pixel_size_angstrom=3.0,
            estimator_metadata={"name": "e", "structure": "5a1a", "symmetry": "D2"},
        )
    small_field = {"box_px": 32, "pixel_size_angstrom": 3.0}
    with pytest.raises(InputError, match="show 48 A.*trained on 96 A"):
        recover(images, untrained, pixel_size_angstrom=3.0, estimator_metadata=small_field)


@published
def test_the_other_hand_is_the_mirror_image_that_gives_the_same_images(particles):
    images, _, pixel_size = particles
    estimator = load(NAME)
    settings = {"pixel_size_angstrom": pixel_size, "refine": False, "seed": 3, "threads": 1}

    one, other = (
        recover(images[:80], estimator, flip_hand=flip, **settings) for flip in (False, True)
    )

    assert [found.metrics["hand_flipped"] for found in (one, other)] == [False, True]
    assert other.metrics["handedness"] == "unknown"
    assert not np.allclose(one.quaternions, other.quaternions, atol=0.1)
    seen, mirrored = (
        project_volume(found.volume, quaternions_to_matrices(found.quaternions[:5]))
        for found in (one, other)
    )
    # Nearly: the first plane of an even box, where a noisy map is not zero, has no mirror image.
    assert np.corrcoef(seen.ravel(), mirrored.ravel())[0, 1] > 0.999
    maps = [(one.volume, *one.half_maps), (other.volume, *other.half_maps)]
    for first, second in zip(*maps, strict=True):
        assert np.array_equal(mirror_volume(first), second)
