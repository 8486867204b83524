import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from cryotwin.imaging.ctf import (
    CtfDistribution,
    CtfParameters,
    apply_ctf,
    flip_phases,
    full_contrast_transfer,
)
from cryotwin.imaging.errors import InputError
from cryotwin.models.ctf_channels import ctf_channels
from cryotwin.models.features import extract_features
from cryotwin.models.heads import find_head
from cryotwin.models.siamese import build, build_extractor, takes_ctf

PIXEL_A = 3.5


def _parameters(count, seed=0):
    uniform = np.random.default_rng(seed).random((count, 4))
    return CtfDistribution(astigmatism_angstrom=2000).parameters(uniform)


def _noise(count, size, seed=1):
    """White noise without power on the Nyquist lines, where a CTF is not even."""
    images = np.random.default_rng(seed).standard_normal((count, size, size))
    spectrum = np.fft.fft2(images)
    if size % 2 == 0:
        spectrum[:, size // 2] = spectrum[:, :, size // 2] = 0
    return np.fft.ifft2(spectrum).real.astype(np.float32)


@pytest.fixture(scope="module")
def channels_of():
    """A model of the channels alone, which takes images of any size."""
    images, ctf = keras.Input((None, None, 1)), keras.Input((None, None, 1))
    model = keras.Model([images, ctf], ctf_channels(images, ctf))
    return lambda *inputs: ops.convert_to_numpy(model([x[..., None] for x in inputs]))


@pytest.mark.parametrize("size", [16, 33, 48, 100])
def test_the_channels_are_the_image_its_flipped_phases_and_its_product_with_the_ctf(
    channels_of, size
):
    images, parameters = _noise(4, size), _parameters(4)
    ctf = full_contrast_transfer(parameters, size, PIXEL_A)

    channels = channels_of(images, ctf)

    assert channels.shape == (4, size, size, 3)
    assert np.array_equal(channels[..., 0], images)
    assert np.allclose(channels[..., 1], flip_phases(images, parameters, PIXEL_A), atol=2e-4)
    strength = np.sqrt((ctf**2).mean(axis=(1, 2), keepdims=True))
    product = apply_ctf(images, parameters, PIXEL_A)
    assert np.allclose(channels[..., 2] * strength, product, atol=2e-4)


def test_white_noise_is_as_strong_in_each_channel(channels_of):
    images = _noise(50, 49)

    channels = channels_of(images, full_contrast_transfer(_parameters(50), 49, PIXEL_A))

    assert np.allclose(channels.var(axis=(0, 1, 2)), images.var(), rtol=0.02)


def test_a_ctf_of_one_leaves_the_image_as_it_is_and_one_of_zeros_leaves_nothing(channels_of):
    images = _noise(2, 20)

    same = channels_of(images, np.ones_like(images))
    assert np.allclose(same, images[..., None], atol=1e-4)
    assert np.allclose(channels_of(images, np.zeros_like(images))[..., 2], 0, atol=1e-6)


def test_a_model_that_takes_the_ctf_has_four_inputs_and_gives_them_to_its_extractor():
    model = build("ctf_polar", feature_dim=8)
    images, parameters = _noise(6, 24), _parameters(6)
    ctf = full_contrast_transfer(parameters, 24, PIXEL_A)
    extractor = model.get_layer("extractor")

    assert [tensor.name for tensor in model.inputs] == [
        *("first_image", "second_image"),
        *("first_ctf", "second_ctf"),
    ]
    assert takes_ctf(extractor)
    assert not takes_ctf(build_extractor("resnet_small", head=find_head("so3"), feature_dim=8))
    features = extract_features(extractor, images, ctf)
    pairs = [images[:3], images[3:], ctf[:3], ctf[3:]]
    distances = ops.convert_to_numpy(model([one[..., None] for one in pairs]))[:, 0]
    chord = np.linalg.norm(features[:3] - features[3:], axis=1)
    assert np.allclose(distances, 2 * np.arcsin(np.sqrt(3 / 8) * chord), atol=1e-4)
    other = extract_features(extractor, images, ctf[::-1])
    assert np.abs(other - features).max() > 1e-3


def test_a_ctf_that_is_missing_not_wanted_or_of_another_shape_is_told():
    images = _noise(2, 20)
    takes = build_extractor("ctf_polar", head=find_head("so3"), feature_dim=4)
    alone = build_extractor("resnet_small", head=find_head("so3"), feature_dim=4)

    with pytest.raises(InputError, match="takes the CTF of each image, but none is given"):
        extract_features(takes, images)
    with pytest.raises(InputError, match="takes images alone, but a CTF is given"):
        extract_features(alone, images, images)
    with pytest.raises(InputError, match=r"shape \(2, 20, 20\), not \(2, 20, 11\)"):
        extract_features(takes, images, images[:, :, :11])


PROGRAM = """
import sys, keras, numpy as np
data = np.load(sys.argv[1])
model = keras.models.load_model(sys.argv[2])
np.save(sys.argv[3], model.predict([data[name] for name in "abcd"], verbose=0))
assert keras.backend.backend() == "jax"
assert "cryotwin" not in sys.modules
"""


def test_the_jax_backend_gives_the_same_distances_from_the_file_alone(tmp_path):
    pytest.importorskip("jax")
    keras.utils.set_random_seed(0)
    model = build("ctf_polar", feature_dim=8)
    model.save(tmp_path / "est.keras")
    ctf = full_contrast_transfer(_parameters(6), 21, PIXEL_A)[..., None]
    images = _noise(6, 21)[..., None]
    inputs = [images[:3], images[3:], ctf[:3], ctf[3:]]
    np.savez(tmp_path / "data.npz", **dict(zip("abcd", inputs, strict=True)))

    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PROGRAM,
            *(tmp_path / n for n in ("data.npz", "est.keras", "d.npy")),
        ],
        env=os.environ | {"KERAS_BACKEND": "jax", "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    expected = ops.convert_to_numpy(model(inputs))
    assert np.allclose(np.load(tmp_path / "d.npy"), expected, atol=1e-4)


def test_one_ctf_for_all_images_has_one_row():
    assert full_contrast_transfer(CtfParameters(9000.0, 9000.0), 20, PIXEL_A).shape == (1, 20, 20)
