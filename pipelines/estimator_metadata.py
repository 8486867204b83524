"""What `cryotwin train` writes into an estimator file about itself."""

from __future__ import annotations

import argparse
import math
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryotwin.datasets.clean_views import clean_views
from cryotwin.datasets.folder import DatasetFolder
from cryotwin.datasets.perturbation import Perturbation
from cryotwin.models.presets import Accuracy
from cryotwin.pipelines.loop_arguments import loop_command
from cryotwin.pipelines.training_input import InputFrame

if TYPE_CHECKING:
    import keras

    from cryotwin.models.pair_batches import Views
    from cryotwin.models.training_settings import TrainingSettings

_CONDITION_VIEWS = 1000


def estimator_metadata(
    args: argparse.Namespace,
    folder: DatasetFolder,
    settings: TrainingSettings,
    perturbation: Perturbation,
    frame: InputFrame,
    *,
    model: keras.Model,
    training_particles: int,
    images_seen: int,
    seconds: float,
) -> dict[str, Any]:
    """Collects all of `cryotwin.models.presets.EstimatorMetadata` but the accuracy.

    Args:
        args: of the command.
        folder: the dataset.
        settings: of the training.
        perturbation: trained for, at the dataset's images.
        frame: from the dataset's images to the network's.
        model: the estimator.
        training_particles: clean projections that training drew from.
        images_seen: images passed through the network, by all processes that training took.
        seconds: wall-clock time of training, of all of them.
    """
    import keras

    from cryotwin.models.architectures import find_architecture

    structure = folder.metadata["structures"][0]
    return {
        "name": Path(args.out).stem,
        "architecture": settings.model,
        "head": settings.head,
        "feature_dim": settings.feature_dim,
        "parameters": int(model.count_params()),
        "structure": structure["name"],
        "structure_source": structure["source"],
        "symmetry": folder.metadata["symmetry"],
        "orientations": folder.metadata["orientations"],
        "pixel_size_angstrom": frame.pixel_size_angstrom,
        "box_px": frame.size,
        "source_pixel_size_angstrom": frame.stored_pixel_size_angstrom,
        "source_box_px": frame.stored_size,
        "takes_ctf": find_architecture(settings.model).takes_ctf,
        "phase_flip": settings.phase_flip,
        **perturbation.to_metadata(),
        "snr_range_db": snr_range_db(perturbation),
        "training_particles": training_particles,
        "training_images_seen": images_seen,
        "commands": [folder.metadata["command"], _command(args, settings, perturbation, frame)],
        "seconds": round(seconds, 1),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "cryotwin": version("cryotwin"),
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
    }


def estimator_accuracy(
    model: keras.Model, metadata: dict[str, Any], folder: DatasetFolder, test: Views
) -> Accuracy:
    """Measures an estimator on views that training never saw.

    Args:
        model: the estimator.
        metadata: of it, from `estimator_metadata`.
        folder: the dataset. If it has its map, the clean views of its test split are projected
            anew, for the table by noise and shifts; if not, that table is empty.
        test: the test split as it is stored, in the estimator's box.
    """
    from cryotwin.models.accuracy import accuracy_table, distance_accuracy, distance_errors

    stored = distance_errors(model, test.images, test.quaternions, ctf=test.ctf)
    accuracy: Accuracy = {
        "split": "test",
        "particles": len(test.images),
        **distance_accuracy(*stored),
        "condition_particles": 0,
        "conditions": [],
    }
    if folder.volume_path() is not None:
        images, quaternions = clean_views(folder, "test", limit=_CONDITION_VIEWS)
        accuracy["conditions"] = accuracy_table(model, metadata, images, quaternions)
        accuracy["condition_particles"] = len(images)
    return accuracy


def snr_range_db(perturbation: Perturbation) -> list[float] | None:
    """Gives the lowest and the highest SNR that training drew noise for; None without noise."""
    from cryotwin.models.pair_batches import LEAST_NOISE_LEVEL

    if perturbation.noise_variance == 0:
        return None
    lowest = 0.0 - 10 * math.log10(perturbation.noise_variance)  # Not -0.0 at a variance of 1.
    return [lowest, lowest - 20 * math.log10(LEAST_NOISE_LEVEL)]


def _command(
    args: argparse.Namespace,
    settings: TrainingSettings,
    perturbation: Perturbation,
    frame: InputFrame,
) -> str:
    """Writes the command with every setting that it ended up with."""
    length = f"--epochs {settings.epochs}" if settings.epochs else f"--minutes {settings.minutes:g}"
    return (
        f"cryotwin train {_shareable(args.dataset)} --model {settings.model} "
        f"--out {_shareable(args.out)} {length} --size {frame.size} "
        f"--pixel-size {frame.pixel_size_angstrom:.6g} "
        f"--noise-variance {perturbation.noise_variance:.6g} "
        f"--max-shift {perturbation.max_shift_px:g} --head {settings.head} "
        f"--feature-dim {settings.feature_dim} --batch-size {settings.batch_size} "
        f"--learning-rate {settings.learning_rate:g} --seed {settings.seed} "
        f"{loop_command(settings)}" + (" --phase-flip" if settings.phase_flip else "")
    )


def _shareable(path: str) -> str:
    """Keeps a relative path, and of an absolute one the name: the file goes to other machines."""
    return Path(path).name if Path(path).is_absolute() else path
