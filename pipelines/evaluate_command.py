"""`cryotwin evaluate`: what was recovered, against the truth."""

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError
from cryotwin.pipelines.progress import stages
from cryotwin.pipelines.run_files import (
    HALF_MAP_FILES,
    MAP_FILE,
    MASK_FILE,
    METRICS_FILE,
    ORIENTATIONS_FILE,
)

if TYPE_CHECKING:
    from cryotwin.datasets.particle_set import ParticleSet
    from cryotwin.recovery.evaluation import Evaluation, MapComparison

_OF_THE_RUN = (
    "embedding_loss_rad2",
    "embedding_trusted",
    "embedding_trust_reason",
    "handedness",
    "hand_flipped",
    "common_line_score",
    "symmetry",
    "seconds",
)
"""Figures of metrics.json that need no truth and are passed on."""

DESCRIPTION = """\
Compare the orientations and the map in the folder of a run with the truth. Particles are matched
by key. Two errors of the orientations are given: the physical one, after the best rotation of the
object and its mirror image, is what counts; the O(4) error, after the best isometry of the
distances, is the one that the paper reports. Resolutions are where the Fourier shell correlation
falls below 0.143 (between the half maps) and 0.5 (against the true map).

Without --truth, the map alone is compared with --volume, which may lie in any frame and have
either hand: the rotation, hand and shift of best agreement are searched for."""

EPILOG = """\
examples:
  cryotwin evaluate run --truth data/7cfn
  cryotwin evaluate run --truth truth.star --volume true_map.mrc --json
  cryotwin evaluate run --volume emd_1234.map"""


@dataclass(frozen=True)
class Truth:
    """What is known of the particles.

    Attributes:
        source: where it was read, for messages.
        quaternions: (4,) by key.
        volume_path: the true map, or None.
        symmetry: point group of the particle; None if the source does not say.
        particles: the images with their true orientations, of a dataset folder; or None.
    """

    source: str
    quaternions: dict[str, NDArray[np.floating]]
    volume_path: Path | None
    symmetry: str | None = None
    particles: "ParticleSet | None" = None


@dataclass(frozen=True)
class RunEvaluation:
    """What the evaluation of a run found; None for what the run or the truth lacks.

    `mirrored` tells whether the true map has the other hand, `particles` how many were recovered.
    """

    particles: int
    mirrored: bool
    orientations: "Evaluation | None"
    half_maps: "MapComparison | None"
    against_truth: "MapComparison | None"
    limit: "MapComparison | None"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `cryotwin evaluate`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    add = parser.add_argument
    add("run_folder", type=Path, metavar="DIR", help="folder that cryotwin recover wrote")
    add(
        "--truth",
        type=Path,
        metavar="PARTICLES",
        help="true orientations: a dataset folder, or a .star or .cs file with the same keys",
    )
    add(
        "--split",
        default="test",
        metavar="NAME",
        help="split of a dataset folder: train, validation or test (default: test)",
    )
    add(
        "--volume",
        type=Path,
        metavar="MAP.mrc",
        help="true map, in the frame of the true orientations, if there are any (default: the "
        "dataset's)",
    )
    add(
        "--symmetry",
        metavar="GROUP",
        help="point group of the particle (default: that of the dataset, else of the run)",
    )
    add("--json", action="store_true", help="print the figures as JSON, as in metrics.json")


def run(args: argparse.Namespace) -> int:
    """Runs `cryotwin evaluate`.

    Returns:
        The exit status, 0.

    Raises:
        InputError: an argument or a file is bad.
    """
    from cryotwin.recovery.evaluation import evaluation_metrics

    _check_folder(args.run_folder)
    if args.truth is None and args.volume is None:
        raise InputError(
            "nothing to compare with: expected --truth PARTICLES, --volume MAP.mrc or both"
        )
    if args.volume is not None and not (args.run_folder / MAP_FILE).is_file():
        raise InputError(f"{args.run_folder} has no {MAP_FILE} to compare {args.volume} with")
    metrics = _metrics_of_the_run(args.run_folder)
    with stages(2 if args.truth is None else 5) as progress:
        if args.truth is None:
            source, found = str(args.volume), evaluate_map(args.run_folder, args.volume, progress)
        else:
            progress("truth")
            truth = read_truth(args.truth, split=args.split, volume=args.volume)
            truth = replace(truth, symmetry=_symmetry(args, truth, metrics))
            source, found = truth.source, evaluate_run(args.run_folder, truth, progress)
    if not args.json:
        print(_table(args.run_folder, source, found))
        return 0
    figures = evaluation_metrics(
        particles=found.particles,
        orientations=found.orientations,
        half_maps=found.half_maps,
        against_truth=found.against_truth,
        limit=found.limit,
    )
    print(json.dumps(_with_the_run(figures, metrics), indent=2))
    return 0


def read_truth(path: Path, *, split: str = "test", volume: Path | None = None) -> Truth:
    """Reads true orientations by key, and finds the true map.

    Args:
        path: a dataset folder or a .star or .cs file.
        split: of a dataset folder.
        volume: the true map instead of the dataset's.

    Raises:
        InputError: it cannot be read, or has no orientations.
    """
    if path.suffix.lower() == ".star" and not path.is_dir():
        from cryotwin.datasets.star_files import read_orientations

        listed = read_orientations(path)  # needs no images
        by_key = dict(zip(listed.keys, listed.quaternions, strict=True))
        return Truth(str(path), by_key, volume)
    from cryotwin.datasets.particles import read_particles

    particles = read_particles(path, split=split)
    if particles.quaternions is None:
        raise InputError(f"{path}: holds no true orientations, which --truth needs")
    by_key = dict(zip(particles.keys, particles.quaternions, strict=True))
    return Truth(
        particles.source,
        by_key,
        volume or particles.volume_path,
        particles.metadata.get("symmetry"),
        particles if particles.metadata else None,
    )


def _symmetry(args: argparse.Namespace, truth: Truth, metrics: dict[str, Any]) -> str:
    """Gives the point group to evaluate under: that of the dataset, as asked for, or of the run.

    Raises:
        InputError: --symmetry is not the dataset's.
    """
    from cryotwin.imaging.point_groups import parse_point_group

    asked = None if args.symmetry is None else parse_point_group(args.symmetry)
    known = None if truth.symmetry is None else parse_point_group(truth.symmetry)
    if asked and known and asked != known:
        raise InputError(
            f"--symmetry must be {known!r}, with which {truth.source} was generated, not {asked!r}"
        )
    return asked or known or parse_point_group(str(metrics.get("symmetry", "C1")))


def evaluate_run(
    folder: Path, truth: Truth, progress: Callable[[str], None] = lambda stage: None
) -> RunEvaluation:
    """Compares the files of a run with the truth; `progress` is told of each stage.

    Raises:
        InputError: a particle of the run is not among the true ones, or a map does not fit.
    """
    from cryotwin.datasets.star_files import read_orientations
    from cryotwin.recovery.evaluation import evaluate_orientations

    progress("orientations")
    estimated = read_orientations(folder / ORIENTATIONS_FILE)
    true = match_keys(estimated.keys, truth, where=str(folder / ORIENTATIONS_FILE))
    orientations = evaluate_orientations(
        estimated.quaternions, true, symmetry=truth.symmetry or "C1"
    )
    progress("half maps")
    mask = _mask(folder)
    half_maps = _half_maps(folder, mask)
    progress("true map")
    against_truth = _against_truth(folder, truth, orientations, mask)
    progress("limit")
    limit = _limit(estimated.keys, true, truth, orientations, mask)
    return RunEvaluation(
        orientations.particles,
        orientations.mirrored,
        orientations,
        half_maps,
        against_truth,
        limit,
    )


def evaluate_map(
    folder: Path, volume: Path, progress: Callable[[str], None] = lambda stage: None
) -> RunEvaluation:
    """Compares the map of a run with one in any frame, when no true orientations are known.

    Raises:
        InputError: a map cannot be read or does not fit.
    """
    from cryotwin.datasets.star_files import read_orientations
    from cryotwin.imaging.maps import read_map
    from cryotwin.recovery.evaluation import compare_unaligned_maps, read_true_map

    progress("half maps")
    mask = _mask(folder)
    half_maps = _half_maps(folder, mask)
    progress("true map")
    found = read_map(folder / MAP_FILE)
    pixel_size = found.voxel_size_angstrom[0]
    true = read_true_map(volume, size=len(found.data), pixel_size_angstrom=pixel_size)
    comparison, alignment = compare_unaligned_maps(found.data, true, pixel_size, mask=mask)
    particles = len(read_orientations(folder / ORIENTATIONS_FILE).keys)
    return RunEvaluation(particles, alignment.inverted, None, half_maps, comparison, None)


def match_keys(keys: Sequence[str], truth: Truth, *, where: str) -> NDArray[np.float64]:
    """Gives the true quaternions (P, 4) of particles in the order of their keys.

    Raises:
        InputError: a key is not among the true ones.
    """
    strangers = [key for key in keys if key not in truth.quaternions]
    if strangers:
        raise InputError(
            f"{where}: {len(strangers):,} of {len(keys):,} particles are not among the "
            f"{len(truth.quaternions):,} of {truth.source}, such as {strangers[0]!r}; every key "
            "must be found there (is it the dataset and the split that was recovered?)"
        )
    return np.stack([truth.quaternions[key] for key in keys]).astype(np.float64)


def _mask(folder: Path) -> NDArray[np.float32] | None:
    """Reads the mask of the run, within which its own figures were taken."""
    from cryotwin.imaging.maps import read_map

    path = folder / MASK_FILE
    return read_map(path).data if path.exists() else None


def _half_maps(folder: Path, mask: NDArray[np.float32] | None) -> "MapComparison | None":
    from cryotwin.imaging.maps import read_map
    from cryotwin.recovery.evaluation import compare_half_maps

    paths = [folder / name for name in HALF_MAP_FILES]
    if not all(path.exists() for path in paths):
        return None
    first, second = (read_map(path) for path in paths)
    return compare_half_maps(first.data, second.data, first.voxel_size_angstrom[0], mask=mask)


def _against_truth(
    folder: Path, truth: Truth, orientations: "Evaluation", mask: NDArray[np.float32] | None
) -> "MapComparison | None":
    from cryotwin.imaging.maps import read_map
    from cryotwin.recovery.evaluation import compare_maps, read_true_map

    path = folder / MAP_FILE
    if truth.volume_path is None or not path.exists():
        return None
    found = read_map(path)
    pixel_size = found.voxel_size_angstrom[0]
    true = read_true_map(truth.volume_path, size=len(found.data), pixel_size_angstrom=pixel_size)
    return compare_maps(
        found.data,
        true,
        orientations.physical,
        pixel_size,
        symmetry=truth.symmetry or "C1",
        mask=mask,
    )


def _limit(
    keys: Sequence[str],
    quaternions: NDArray[np.float64],
    truth: Truth,
    orientations: "Evaluation",
    mask: NDArray[np.float32] | None,
) -> "MapComparison | None":
    """Measures what the true orientations (P, 4) of the images with these keys would give.

    In the frame of the run, so that its mask fits.
    """
    from cryotwin.datasets.particle_ctf import particle_ctf
    from cryotwin.recovery.evaluation import compare_limit, read_true_map

    particles = truth.particles
    if particles is None or truth.volume_path is None:
        return None
    where = {key: row for row, key in enumerate(particles.keys)}
    rows = np.array([where[key] for key in keys])
    images, pixel_size = particles.images[rows], particles.pixel_size_angstrom
    shifts = np.zeros((len(rows), 2))
    if particles.shifts_angstrom is not None:
        shifts = particles.shifts_angstrom[rows] / pixel_size
    true = read_true_map(truth.volume_path, size=images.shape[-1], pixel_size_angstrom=pixel_size)
    ctf = particle_ctf(particles)
    return compare_limit(
        images,
        quaternions,
        true,
        pixel_size,
        true_shifts_px=shifts,
        ctf=None if ctf is None else ctf.part(rows),
        symmetry=truth.symmetry or "C1",
        alignment=orientations.physical,
        mask=mask,
    )


def _check_folder(folder: Path) -> None:
    if not (folder / ORIENTATIONS_FILE).is_file():
        raise InputError(
            f"{folder} is not the folder of a run: no {ORIENTATIONS_FILE}; "
            "expected one written by cryotwin recover"
        )


def _with_the_run(figures: dict[str, Any], of_the_run: dict[str, Any]) -> dict[str, Any]:
    """Adds the figures of the run itself to those of the evaluation."""
    return figures | {name: of_the_run[name] for name in _OF_THE_RUN if name in of_the_run}


def _metrics_of_the_run(folder: Path) -> dict[str, Any]:
    path = folder / METRICS_FILE
    if not path.exists():
        return {}
    try:
        metrics = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); expected what recover wrote") from None
    if not isinstance(metrics, dict):
        raise InputError(f"{path} must hold a JSON object, not {type(metrics).__name__}")
    return metrics


def _table(folder: Path, source: str, found: RunEvaluation) -> str:
    """Says in a few lines what was found, and what each figure means."""
    rows = [
        ("particles", f"{found.particles:,}", "matched by key" if found.orientations else ""),
        *_orientation_rows(found.orientations),
        *_resolution_rows("half maps", found.half_maps, f"needs {' and '.join(HALF_MAP_FILES)}"),
        *_resolution_rows(
            "true map",
            found.against_truth,
            f"needs {MAP_FILE} and the true map (--volume)",
        ),
    ]
    if found.limit is not None:
        rows += _resolution_rows("limit", found.limit, "")[:2]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{folder} against {source}"]
    lines += [
        f"  {name:<{widths[0]}}  {value:>{widths[1]}}  {text}".rstrip()
        for name, value, text in rows
    ]
    compared = [each for each in (found.half_maps, found.against_truth) if each is not None]
    masks = [m for each in compared for m in (each.mask, each.particle_mask)]
    lines += [f"Mask: {mask}." for mask in dict.fromkeys(masks)]
    if found.limit is not None:
        lines.append(
            "The limit is the true map against the one that these images give with their true "
            "orientations."
        )
    if found.orientations is None:
        lines.append("The true map was brought onto the map by rotation, hand and shift.")
    if found.mirrored:
        lines.append(
            "The map has the other hand than the truth: images cannot tell an object from its "
            "mirror image."
        )
    return "\n".join(lines)


def _orientation_rows(orientations: "Evaluation | None") -> list[tuple[str, str, str]]:
    if orientations is None:
        return [("physical error", "-", "needs the true orientations (--truth)")]
    hand = "the mirror image of the object" if orientations.mirrored else "the object"
    return [
        (
            "physical error",
            _angle(orientations.physical.mean_error),
            f"mean, after the best rotation of {hand}",
        ),
        ("", _angle(orientations.physical.median_error), "median"),
        (
            "O(4) error",
            _angle(orientations.o4.mean_error),
            "mean, after the best isometry of the distances",
        ),
        ("", _angle(orientations.o4.median_error), "median"),
    ]


def _resolution_rows(
    name: str, comparison: "MapComparison | None", needed: str
) -> list[tuple[str, str, str]]:
    title = f"resolution, {name}"
    if comparison is None:
        return [(title, "-", needed)]
    return [
        (
            title,
            f"{comparison.resolution_angstrom:.1f} A",
            f"at FSC {comparison.threshold:g}, within a wide sphere",
        ),
        ("", f"{comparison.resolution_masked_angstrom:.1f} A", "within a mask of the particle"),
        ("", f"{comparison.resolution_no_mask_angstrom:.1f} A", "without a mask"),
    ]


def _angle(radians: float) -> str:
    return f"{radians:.3g} rad ({math.degrees(radians):.2g} deg)"
