import shutil

import numpy as np
import pytest

from cryotwin.datasets.clean_views import clean_views
from cryotwin.datasets.folder import load_split, open_folder
from cryotwin.imaging.errors import InputError


def test_clean_views_of_the_training_split_are_those_that_are_stored(small_dataset):
    images, quaternions = clean_views(open_folder(small_dataset), "train")
    stored = load_split(small_dataset, "train")
    assert np.array_equal(quaternions, stored["quaternion"])
    assert np.allclose(images, stored["image"], atol=1e-4)


def test_clean_views_of_the_test_split_are_its_images_less_their_noise(small_dataset):
    images, _ = clean_views(open_folder(small_dataset), "test", limit=40)
    noise = load_split(small_dataset, "test", limit=40)["image"] - images
    assert images.var() == pytest.approx(1, rel=0.1)
    assert noise.var() == pytest.approx(1, rel=0.03)  # 0 dB
    assert abs(np.mean(noise * images)) < 0.03


def test_a_dataset_without_its_map_is_told(small_dataset, tmp_path):
    bare = shutil.copytree(small_dataset, tmp_path / "bare")
    shutil.rmtree(bare / "volumes")
    with pytest.raises(InputError, match="bare: has no map to project clean views from"):
        clean_views(open_folder(bare), "test")
