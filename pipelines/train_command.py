"""`cryotwin train`: from a dataset folder to an estimator file."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from cryotwin.datasets.folder import DatasetFolder, load_split, open_folder
from cryotwin.datasets.particle_ctf import ctf_from_fields
from cryotwin.datasets.perturbation import Perturbation
from cryotwin.datasets.quiet_imports import import_keras, quiet_start
from cryotwin.imaging.errors import InputError
from cryotwin.models.inputs import check_images
from cryotwin.models.model_files import check_file_name, save_estimator
from cryotwin.pipelines.estimator_metadata import estimator_accuracy, estimator_metadata
from cryotwin.pipelines.loop_arguments import add_loop_arguments, loop_settings
from cryotwin.pipelines.staging import check_room
from cryotwin.pipelines.training_input import InputFrame, input_frame, training_perturbation

if TYPE_CHECKING:
    from cryotwin.models.pair_batches import Views
    from cryotwin.models.training import EpochReport
    from cryotwin.models.training_settings import TrainingSettings

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
  cryotwin train data/7cfn --model polar_search --out 7cfn.keras --minutes 20"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `cryotwin train` to a parser."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("dataset", metavar="DATASET", help="folder written by cryotwin generate")
    parser.add_argument(
        "--model",
        default="polar_search",
        metavar="NAME",
        help="architecture, see cryotwin models --architectures (default: %(default)s)",
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
        "--phase-flip",
        action="store_true",
        help="flip the phases of images by their CTF before the network sees them, as recover "
        "will; for any architecture that does not take the CTF itself",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=64,
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
    add_loop_arguments(parser)
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
    import_keras()
    with quiet_start():
        from cryotwin.models import training
        from cryotwin.models.checkpoints import saved_progress
        from cryotwin.models.devices import Devices
        from cryotwin.models.training_log import TrainingLog
    _check_network(args, folder.metadata["symmetry"])
    frame, perturbation = input_frame(args, folder), training_perturbation(args, folder)
    _check_ctf(args, folder, perturbation)
    settings = _settings(args, folder, perturbation, frame)
    Devices(settings.devices)  # Are there as many? Before the dataset is read.
    log = None if args.tensorboard is None else TrainingLog(Path(args.tensorboard))
    print(f"reading {folder.path}", flush=True)
    clean, validation, test = (
        _views(folder, split, frame, limit, settings)
        for split, limit in (
            ("train", None),
            ("validation", _VALIDATION_VIEWS),
            ("test", _TEST_VIEWS),
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
    with tqdm(
        total=100,
        desc="training",
        unit="%",
        bar_format="{l_bar}{bar}| {elapsed}<{remaining}{postfix}",
        disable=None,
    ) as bar:

        def report(epoch: EpochReport) -> None:
            if log is not None:
                log.write(epoch)
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
    progress = saved_progress(checkpoints)
    metadata = estimator_metadata(
        args,
        folder,
        settings,
        perturbation,
        frame,
        model=model,
        training_particles=len(clean.images),
        images_seen=progress.step * min(settings.batch_size, len(clean.images)),
        seconds=progress.seconds,
    )
    metadata["accuracy"] = accuracy = estimator_accuracy(model, metadata, folder, test)
    save_estimator(model, out, metadata)
    shutil.rmtree(checkpoints)
    print(
        f"wrote {out}: root mean squared error of the distance "
        f"{accuracy['distance_rmse_rad']:.3f} rad over all pairs "
        f"of {accuracy['particles']} test particles"
    )
    return 0


def _check_network(args: argparse.Namespace, symmetry: str) -> None:
    """Raises InputError for a network that cannot be built, before anything is read."""
    from cryotwin.models.architectures import find_architecture
    from cryotwin.models.heads import find_head

    find_architecture(args.model)
    find_head(args.head, symmetry).block_sizes(args.feature_dim)


def _check_ctf(args: argparse.Namespace, folder: DatasetFolder, perturbation: Perturbation) -> None:
    """Raises InputError if the CTF of each image is asked for and training draws none."""
    from cryotwin.models.architectures import find_architecture

    takes_ctf = find_architecture(args.model).takes_ctf
    if takes_ctf and args.phase_flip:
        raise InputError(
            f"--phase-flip is for models that do not take the CTF, but {args.model} does"
        )
    if (takes_ctf or args.phase_flip) and perturbation.ctf is None:
        asks = f"--model {args.model}" if takes_ctf else "--phase-flip"
        raise InputError(
            f"{folder.path}: {asks} needs the CTF of each image, but training draws none for "
            "these; expected a dataset made by cryotwin generate --ctf, its training split clean"
        )


def _views(
    folder: DatasetFolder,
    split: str,
    frame: InputFrame,
    limit: int | None,
    settings: TrainingSettings,
) -> Views:
    """Reads a split, checks its images, and brings them to the estimator's box."""
    from cryotwin.models.architectures import find_architecture
    from cryotwin.models.pair_batches import Views

    arrays = load_split(folder, split, limit=limit)
    check_images(
        arrays["image"],
        source=f"split {split!r} of {folder.path}",
        keys=[str(key) for key in arrays["key"]],
    )
    takes_ctf = find_architecture(settings.model).takes_ctf
    if split == "train" or not (takes_ctf or settings.phase_flip):
        return Views(frame.fit(arrays["image"]), arrays["quaternion"])
    images, ctf = frame.fit_perturbed(
        arrays["image"],
        ctf_from_fields(arrays),
        takes_ctf=takes_ctf,
        phase_flip=settings.phase_flip,
    )
    return Views(images, arrays["quaternion"], ctf)


def _settings(
    args: argparse.Namespace,
    folder: DatasetFolder,
    perturbation: Perturbation,
    frame: InputFrame,
) -> TrainingSettings:
    from cryotwin.models.training_settings import TrainingSettings

    minutes = _DEFAULT_MINUTES if args.epochs is None and args.minutes is None else args.minutes
    return TrainingSettings(
        model=args.model,
        head=args.head,
        feature_dim=args.feature_dim,
        symmetry=folder.metadata["symmetry"],
        perturbation=frame.seen(perturbation),
        pixel_size_angstrom=frame.pixel_size_angstrom,
        phase_flip=args.phase_flip,
        epochs=args.epochs,
        minutes=minutes,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        seed=args.seed,
        **loop_settings(args),
    )
