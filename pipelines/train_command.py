"""`cryotwin train`: from a dataset folder to an estimator file."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from cryotwin.datasets.folder import DatasetFolder, load_split, open_folder
from cryotwin.datasets.perturbation import Perturbation
from cryotwin.datasets.quiet_imports import import_tensorflow, quiet_start
from cryotwin.imaging.errors import InputError
from cryotwin.models.model_files import check_file_name, save_estimator
from cryotwin.pipelines.staging import check_room
from cryotwin.pipelines.training_input import InputFrame, input_frame, training_perturbation

if TYPE_CHECKING:
    from cryotwin.models.training import EpochReport, TrainingSettings, Views

_VALIDATION_VIEWS = 500
_TEST_VIEWS = 2000
_DEFAULT_MINUTES = 15.0
_NEEDED_BYTES = 100 * 2**20
"""For the checkpoint, the one that takes its place, and the estimator."""

DESCRIPTION = """\
Train a Siamese network to estimate the distance between the orientations of two
views, on the projections of a dataset folder made by `cryotwin generate`.

Shift, CTF and noise are drawn afresh whenever an image is seen, as the dataset's
test split has them; the options below change how strong shift and noise are. Training that was
stopped goes on where it was when the same command is given again."""

EPILOG = """\
example:
  cryotwin generate 7cfn --out data/7cfn --count 20000 --snr-db -6
  cryotwin train data/7cfn --model resnet_small --out 7cfn.keras --minutes 20"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `cryotwin train` to a parser."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("dataset", metavar="DATASET", help="folder written by cryotwin generate")
    parser.add_argument(
        "--model",
        default="resnet_small",
        metavar="NAME",
        help="architecture (default: %(default)s)",
    )
    parser.add_argument(
        "--out", required=True, metavar="FILE.keras", help="estimator file to write"
    )
    parser.add_argument(
        "--head",
        default="so3",
        help="distance head: so3, cosine or euclidean (default: %(default)s)",
    )
    parser.add_argument(
        "--feature-dim",
        type=int,
        default=512,
        metavar="D",
        help="length of the features (default: %(default)s)",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int, metavar="N", help="passes over the training images")
    length.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help=f"wall-clock time of training (default: {_DEFAULT_MINUTES:g})",
    )
    noise = parser.add_mutually_exclusive_group()
    noise.add_argument(
        "--snr-db",
        type=float,
        metavar="X",
        help="train for signal-to-noise ratios down to X dB (default: the dataset's)",
    )
    noise.add_argument(
        "--noise-variance",
        type=float,
        metavar="V",
        help="the same as a variance; clean projections have variance 1",
    )
    parser.add_argument(
        "--max-shift",
        type=float,
        metavar="PX",
        help="train for shifts up to PX pixels (default: the dataset's)",
    )
    parser.add_argument(
        "--size",
        type=int,
        metavar="PX",
        help="resample images and cut them to a box of PX pixels first, as recover will "
        "(default: the dataset's)",
    )
    parser.add_argument(
        "--pixel-size",
        type=float,
        metavar="A",
        help="with pixels of A angstrom (default: such that --size pixels show the same field)",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=128,
        metavar="B",
        help="images in a batch; all pairs are used (default: %(default)s)",
    )
    parser.add_argument(
        "--learning-rate",
        type=float,
        default=2e-3,
        metavar="R",
        help="highest of the schedule (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of weights and batches (default: %(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE.keras if it exists")


def run(args: argparse.Namespace) -> int:
    """Trains, measures the accuracy on the test split, and writes the estimator."""
    out = Path(args.out)
    check_file_name(out)
    if out.exists() and not args.overwrite:
        raise InputError(f"{out}: exists already; give --overwrite to replace it")
    check_room(out, _NEEDED_BYTES)
    folder = open_folder(args.dataset)
    if not {"image", "quaternion"} <= set(folder.fields) or "structures" not in folder.metadata:
        raise InputError(
            f"{folder.path}: is a dataset, but not one of projections; "
            "expected a folder written by cryotwin generate"
        )
    if len(folder.metadata["structures"]) != 1:
        raise InputError(
            f"{folder.path}: has {len(folder.metadata['structures'])} structures, but a distance "
            "is defined between views of one; expected a dataset of a single structure"
        )
    import_tensorflow()
    print(f"reading {folder.path}", flush=True)
    with quiet_start():
        from cryotwin.models import training
    frame, perturbation = input_frame(args, folder), training_perturbation(args, folder)
    settings = _settings(args, folder, perturbation, frame)
    clean, validation, test = (
        training.Views(frame.fit(split["image"]), split["quaternion"])
        for split in (
            load_split(folder, "train"),
            load_split(folder, "validation", limit=_VALIDATION_VIEWS),
            load_split(folder, "test", limit=_TEST_VIEWS),
        )
    )
    print(
        f"training {settings.model} on {len(clean.images)} projections "
        f"of {frame.size} px of {frame.pixel_size_angstrom:.3g} A, "
        f"from {frame.stored_size} px with noise of variance up to "
        f"{perturbation.noise_variance:.3g} and shifts up to {perturbation.max_shift_px:g} px"
        + (", each with a CTF" if perturbation.ctf else "")
    )
    checkpoints = out.with_name(f".{out.stem}.training")
    began = time.monotonic()
    with tqdm(
        total=100,
        desc="training",
        unit="%",
        bar_format="{l_bar}{bar}| {elapsed}<{remaining}{postfix}",
        disable=None,
    ) as bar:

        def report(epoch: EpochReport) -> None:
            figures = (
                f"epoch {epoch.epoch}, loss {epoch.loss:.4f}, "
                f"validation {epoch.validation_mse_rad2:.4f} rad^2"
            )
            bar.n = round(100 * epoch.fraction, 1)
            bar.set_postfix_str(f", {figures}")
            if bar.disable:  # No terminal: a log gets a line an epoch.
                print(f"{epoch.fraction:.0%}: {figures}", flush=True)

        try:
            model = training.train(
                clean, validation, settings, checkpoints=checkpoints, report=report
            )
        except KeyboardInterrupt:
            bar.close()
            print(f"stopped; the same command goes on from {checkpoints}")
            raise
    accuracy = _accuracy(model, test)
    seconds = time.monotonic() - began
    save_estimator(
        model,
        out,
        _metadata(
            args, folder, settings, perturbation, frame, len(clean.images), accuracy, seconds
        ),
    )
    shutil.rmtree(checkpoints)
    print(
        f"wrote {out}: root mean squared error of the distance "
        f"{accuracy['distance_rmse_rad']:.3f} rad over all pairs "
        f"of {accuracy['particles']} test particles"
    )
    return 0


def _settings(
    args: argparse.Namespace,
    folder: DatasetFolder,
    perturbation: Perturbation,
    frame: InputFrame,
) -> TrainingSettings:
    from cryotwin.models.training import TrainingSettings

    minutes = _DEFAULT_MINUTES if args.epochs is None and args.minutes is None else args.minutes
    return TrainingSettings(
        model=args.model,
        head=args.head,
        feature_dim=args.feature_dim,
        symmetry=folder.metadata["symmetry"],
        perturbation=frame.seen(perturbation),
        pixel_size_angstrom=frame.pixel_size_angstrom,
        epochs=args.epochs,
        minutes=minutes,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        seed=args.seed,
    )


def _accuracy(model: Any, test: Views) -> dict[str, Any]:
    from cryotwin.models.training import distance_errors

    estimated, true = distance_errors(model, test)
    error = estimated - true
    return {
        "split": "test",
        "particles": len(test.images),
        "distance_mse_rad2": float((error**2).mean()),
        "distance_rmse_rad": float((error**2).mean() ** 0.5),
        "distance_bias_rad": float(error.mean()),
    }


def _metadata(
    args: argparse.Namespace,
    folder: DatasetFolder,
    settings: TrainingSettings,
    perturbation: Perturbation,
    frame: InputFrame,
    training_particles: int,
    accuracy: dict[str, Any],
    seconds: float,
) -> dict[str, Any]:
    import keras

    structure = folder.metadata["structures"][0]
    length = f"--epochs {settings.epochs}" if settings.epochs else f"--minutes {settings.minutes:g}"
    return {
        "name": Path(args.out).stem,
        "architecture": settings.model,
        "head": settings.head,
        "feature_dim": settings.feature_dim,
        "structure": structure["name"],
        "structure_source": structure["source"],
        "symmetry": folder.metadata["symmetry"],
        "pixel_size_angstrom": frame.pixel_size_angstrom,
        "box_px": frame.size,
        "source_pixel_size_angstrom": frame.stored_pixel_size_angstrom,
        "source_box_px": frame.stored_size,
        **perturbation.to_metadata(),
        "training_particles": training_particles,
        "accuracy": accuracy,
        "commands": [
            folder.metadata["command"],
            f"cryotwin train {_shareable(args.dataset)} --model {settings.model} "
            f"--out {_shareable(args.out)} {length} --size {frame.size} "
            f"--pixel-size {frame.pixel_size_angstrom:.6g} "
            f"--noise-variance {perturbation.noise_variance:.6g} "
            f"--max-shift {perturbation.max_shift_px:g} --head {settings.head} "
            f"--feature-dim {settings.feature_dim} --batch-size {settings.batch_size} "
            f"--learning-rate {settings.learning_rate:g} --seed {settings.seed}",
        ],
        "seconds": round(seconds, 1),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
    }


def _shareable(path: str) -> str:
    """Keeps a relative path, and of an absolute one the name: the file goes to other machines."""
    return Path(path).name if Path(path).is_absolute() else path
