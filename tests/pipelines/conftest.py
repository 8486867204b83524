"""A small dataset and an estimator trained on it, made once by the commands themselves."""

import pytest

from cryotwin.pipelines.command_line import main


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory):
    """Projections of the bundled structure at 32 px: 90 to train, 30 to validate, 60 to test."""
    out = tmp_path_factory.mktemp("small") / "dataset"
    words = ["generate", "7cfn", "--out", str(out), "--count", "180", "--size", "32"]
    assert main([*words, "--snr-db", "0", "--seed", "3"]) == 0
    return out


@pytest.fixture(scope="session")
def small_estimator(small_dataset, tmp_path_factory):
    """An estimator after one pass, which is far from knowing the particle."""
    out = tmp_path_factory.mktemp("trained") / "small.keras"
    words = ["train", str(small_dataset), "--model", "resnet_small", "--out", str(out)]
    words += ["--epochs", "1", "--feature-dim", "16", "--batch-size", "32"]
    assert main(words) == 0
    return out
