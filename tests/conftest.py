"""What holds for every test: repeatable, on one machine, away from the user's own files."""

import os
from pathlib import Path

import pytest

# Before any test imports TensorFlow, JAX or matplotlib.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

try:
    import hypothesis
except ImportError:
    pass
else:
    hypothesis.settings.register_profile(
        "repeatable", derandomize=True, deadline=None, database=None
    )
    hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout that the tests belong to."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps downloads and caches out of the user's folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Projections of the bundled structure at 32 px: 90 to train, 30 to validate, 60 to test."""
    from cryotwin.pipelines.command_line import main

    out = tmp_path_factory.mktemp("small") / "dataset"
    words = ["generate", "7cfn", "--out", str(out), "--count", "180", "--size", "32"]
    assert main([*words, "--snr-db", "0", "--seed", "3"]) == 0
    return out


@pytest.fixture(scope="session")
def small_estimator(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An estimator after one pass, which is far from knowing the particle."""
    from cryotwin.pipelines.command_line import main

    out = tmp_path_factory.mktemp("trained") / "small.keras"
    words = ["train", str(small_dataset), "--model", "resnet_small", "--out", str(out)]
    words += ["--epochs", "1", "--feature-dim", "16", "--batch-size", "32"]
    assert main(words) == 0
    return out
