from pathlib import Path

import numpy as np
import pytest

from cryotwin.datasets.folder import load_split, shard_name, write_dataset_metadata
from cryotwin.datasets.loading import PairLoader
from cryotwin.datasets.perturbation import Perturbation
from cryotwin.datasets.quiet_imports import import_tensorflow
from cryotwin.datasets.record_index import index_records
from cryotwin.datasets.schema import example_features, no_ctf
from cryotwin.imaging.ctf import CtfDistribution
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions

SIZE = 16
SHARDS = [["a"] * 12, ["a", "b"] * 8, ["b"] * 11]
"""The structure of each particle of each shard."""


def write_dataset(folder: Path, pixel_size=lambda structure, index: 2.0) -> Path:
    rng = np.random.default_rng(0)
    features, writer = example_features(SIZE), import_tensorflow().io.TFRecordWriter
    index = 0
    for shard, structures in enumerate(SHARDS):
        with writer(str(folder / shard_name("train", shard, len(SHARDS)))) as file:
            for structure in structures:
                example = {
                    "image": rng.standard_normal((SIZE, SIZE)).astype(np.float32),
                    "quaternion": uniform_quaternions(1, rng)[0].astype(np.float32),
                    "shift_angstrom": np.zeros(2, np.float32),
                    "structure": structure,
                    "pixel_size_angstrom": np.float32(pixel_size(structure, index)),
                    "key": f"{structure}-{index}",
                    "noise_variance": np.float32(0),
                    "ctf": no_ctf(),
                }
                file.write(features.serialize_example(features.encode_example(example)))
                index += 1
    write_dataset_metadata(
        folder,
        features=features,
        shard_lengths={"train": [len(shard) for shard in SHARDS]},
        description="Test data",
    )
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("loading"))


def loader(folder, **arguments):
    arguments = {"structures_per_batch": 2, "particles_per_structure": 4, **arguments}
    return PairLoader(folder, **arguments)


def batches(dataset):
    return list(dataset.as_numpy_iterator())


def same(first, second):
    return all(np.array_equal(first[name], second[name]) for name in first)


def test_clean_batches_hold_the_images_and_orientations_of_the_structures_that_they_name(folder):
    stored = load_split(folder, "train")
    reader = loader(folder, exact_views=False)
    assert reader.structures == ("a", "b")
    assert list(reader.pixel_sizes_angstrom) == [2, 2]
    seen = []
    for batch in batches(reader.dataset(epochs=1)):
        assert batch["image"].shape == (8, SIZE, SIZE, 1)
        assert batch["rotation"].shape == (8, 3, 3)
        for row, image in enumerate(batch["image"]):
            (place,) = np.flatnonzero((stored["image"] == image[..., 0]).all(axis=(1, 2)))
            seen.append(place)
            assert stored["structure"][place] == reader.structures[batch["structure"][row]]
            rotation = quaternions_to_matrices(stored["quaternion"][place])
            np.testing.assert_allclose(batch["rotation"][row], rotation, atol=1e-6)
    assert len(set(seen)) == len(seen) == 8 * len(reader)


def test_a_batch_depends_on_seed_epoch_and_number_alone(folder):
    noise = Perturbation(noise_variance=1.0, max_shift_px=1.0)
    reader = loader(folder, perturbation=noise, seed=5)
    two_epochs = batches(reader.dataset(epochs=2))
    assert len(two_epochs) == 2 * len(reader)
    again = batches(loader(folder, perturbation=noise, seed=5).dataset(epochs=1, first_epoch=1))
    assert all(map(same, two_epochs[len(reader) :], again))
    other = batches(loader(folder, perturbation=noise, seed=6).dataset(epochs=1))
    assert not any(map(same, two_epochs, other))
    assert not any(map(same, two_epochs[: len(reader)], again))


def test_the_perturbation_is_drawn_afresh_with_the_strength_asked_for(folder):
    clean = batches(loader(folder, exact_views=False).dataset(epochs=1))
    noisy = batches(
        loader(folder, exact_views=False, perturbation=Perturbation(9.0)).dataset(epochs=1)
    )
    noise = np.concatenate([b["image"] - a["image"] for a, b in zip(clean, noisy, strict=True)])
    assert noise.var() == pytest.approx(9, rel=0.05)
    assert noise.mean() == pytest.approx(0, abs=0.1)
    again = batches(
        loader(folder, exact_views=False, perturbation=Perturbation(9.0)).dataset(
            epochs=1, first_epoch=1
        )
    )
    assert not same(noisy[0], again[0])


def test_views_turn_image_and_orientation_alike(folder):
    plain = batches(loader(folder, exact_views=False).dataset(epochs=1))
    turned = batches(loader(folder).dataset(epochs=1))
    for before, after in zip(plain, turned, strict=True):
        # In the plane of the detector: the viewing axis stays, or points the other way.
        np.testing.assert_allclose(
            np.abs((before["rotation"][:, 2] * after["rotation"][:, 2]).sum(axis=1)), 1, rtol=1e-5
        )
        np.testing.assert_array_equal(before["structure"], after["structure"])
        assert not np.array_equal(before["image"], after["image"])


def test_records_are_read_in_any_order(folder):
    index = index_records_of(folder)
    tensorflow = import_tensorflow()
    files = [str(path) for path in index.files]
    everything = [record.numpy() for record in tensorflow.data.TFRecordDataset(files)]
    rows = [30, 2, 17, 2]
    assert index.read(rows) == [everything[row] for row in rows]


def index_records_of(folder):
    from cryotwin.datasets.folder import open_folder

    return index_records(open_folder(folder), "train")


def test_a_damaged_shard_is_told_before_training_starts(tmp_path):
    write_dataset(tmp_path)
    path = tmp_path / shard_name("train", 1, len(SHARDS))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged") as refused:
        PairLoader(tmp_path)
    assert "\n" not in str(refused.value)
    path.write_bytes(content[:-3])
    with pytest.raises(InputError, match="truncated"):
        PairLoader(tmp_path)


def test_two_pixel_sizes_of_one_structure_are_refused(tmp_path):
    folder = write_dataset(tmp_path, pixel_size=lambda _, index: 2.0 + index % 2)
    with pytest.raises(InputError, match="particles of a must have one pixel size"):
        PairLoader(folder)


def test_each_structure_is_perturbed_at_its_own_pixel_size(folder, tmp_path):
    other = write_dataset(tmp_path, pixel_size=lambda name, _: 2.0 if name == "a" else 4.0)
    perturbation = Perturbation(ctf=CtfDistribution())
    plain, mixed = (
        loader(path, perturbation=perturbation, exact_views=False) for path in (folder, other)
    )
    assert list(mixed.pixel_sizes_angstrom) == [2, 4]
    for one, two in zip(
        batches(plain.dataset(epochs=1)), batches(mixed.dataset(epochs=1)), strict=True
    ):
        same_rows = [np.array_equal(a, b) for a, b in zip(one["image"], two["image"], strict=True)]
        assert np.array_equal(same_rows, one["structure"] == 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "tset"}, "must be one of 'train', not 'tset'"),
        ({"least_noise": 2}, "least_noise must be from 0 to 1, not 2"),
        ({"seed": -1}, "seed must be from 0"),
        ({"particles_per_structure": 20}, "at most 19, the particles of b"),
    ],
)
def test_wrong_arguments_are_one_line(folder, arguments, message):
    with pytest.raises(InputError, match=message):
        loader(folder, **arguments)


def test_epochs_must_count_from_zero(folder):
    with pytest.raises(InputError, match="not 0, 0"):
        loader(folder).dataset(epochs=0)
