"""Whether reading keeps up with training: the loader against the smallest network of the zoo."""

import time

import keras
import numpy as np
import pytest

from cryotwin.datasets.loading import PairLoader
from cryotwin.datasets.perturbation import Perturbation
from cryotwin.models.heads import find_head
from cryotwin.models.pair_trainer import PairTrainer
from cryotwin.models.siamese import build
from cryotwin.pipelines.command_line import main

SIZE, BATCH = 64, 128
LEAST_RATIO = 3


@pytest.fixture(scope="module")
def loader(tmp_path_factory):
    out = tmp_path_factory.mktemp("loading") / "dataset"
    words = ["generate", "7cfn", "--out", str(out), "--count", "4000", "--size", str(SIZE)]
    assert main(words) == 0
    perturbation = Perturbation(noise_variance=4, max_shift_px=3)
    return PairLoader(out, perturbation=perturbation, particles_per_structure=BATCH)


def loading_rate(loader, batches=45):
    """Images a second, shifted and with noise, when nothing else waits for them."""
    stream = iter(loader.dataset())
    next(stream)
    start = time.perf_counter()
    for _ in range(batches):
        next(stream)
    return batches * BATCH / (time.perf_counter() - start)


def training_rate(batch, steps=4):
    """Images a second when batches cost nothing."""
    trainer = PairTrainer(build("resnet_small").get_layer("extractor"), find_head("so3"))
    trainer.compile(optimizer=keras.optimizers.AdamW(1e-3))
    rotations = batch["rotation"].reshape(BATCH, 9)
    trainer.train_on_batch(batch["image"], rotations)
    start = time.perf_counter()
    for _ in range(steps):
        trainer.train_on_batch(batch["image"], rotations)
    return steps * BATCH / (time.perf_counter() - start)


def test_loading_is_three_times_as_fast_as_training(loader, record_result):
    batch = next(loader.dataset().as_numpy_iterator())
    rates = []
    for _ in range(3):  # Taken in turns, so that both meet the same load.
        rates.append((loading_rate(loader), training_rate(batch)))
    loading, training = np.median(rates, axis=0)
    record_result(
        f"batches of {BATCH} images of {SIZE} px: loading {loading:,.0f} images/s, "
        f"training resnet_small {training:,.0f} images/s: {loading / training:.1f} times"
    )
    assert loading >= LEAST_RATIO * training
