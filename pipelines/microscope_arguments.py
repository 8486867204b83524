"""The arguments of `cryotwin generate` that say what the microscope does to an image."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from cryotwin.imaging.ctf import CtfDistribution
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.noise import NoiseSpectrum, radial_power_spectrum, read_noise_spectrum
from cryotwin.imaging.shifts import SHIFT_DISTRIBUTIONS

_STACKS = (".star", ".mrcs", ".cs")
_DEFAULT = CtfDistribution()
_CTF_FLAGS = {
    "defocus": "defocus_angstrom",
    "astigmatism": "astigmatism_angstrom",
    "voltage": "voltage_kv",
    "cs": "spherical_aberration_mm",
    "amplitude_contrast": "amplitude_contrast",
    "phase_shift": "phase_shift_rad",
    "b_factor": "b_factor_angstrom2",
}


def add_microscope_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares noise, shift and CTF."""
    group = parser.add_argument_group("microscope")
    noise = group.add_mutually_exclusive_group()
    noise.add_argument(
        "--snr-db",
        type=float,
        metavar="X",
        help="signal over noise variance in decibels, over the whole image, the signal before "
        "the CTF (default: no noise)",
    )
    noise.add_argument(
        "--noise-variance",
        type=float,
        metavar="V",
        help="variance of the noise instead; clean projections have 1",
    )
    group.add_argument(
        "--noise-spectrum",
        type=Path,
        metavar="FILE",
        help="noise with the spectrum of the background in a stack of real particles (.mrcs, .star "
        "or .cs), or with that of a table (two columns: 1/angstrom and power; default: white)",
    )
    group.add_argument(
        "--max-shift",
        type=float,
        default=0.0,
        metavar="PX",
        help="shift images in x and in y by up to so many pixels (default: 0)",
    )
    group.add_argument(
        "--shift-distribution",
        default="uniform",
        metavar="NAME",
        help="; ".join(f"{name}: {meaning}" for name, meaning in SHIFT_DISTRIBUTIONS.items())
        + " (default: uniform)",
    )
    group.add_argument(
        "--ctf", action="store_true", help="apply a contrast transfer function, drawn per particle"
    )
    _add_ctf_arguments(group)


def _add_ctf_arguments(group: "argparse._ArgumentGroup") -> None:
    low, high = _DEFAULT.defocus_angstrom
    for flag, metavar, meaning in (
        ("--defocus", ("MIN", "MAX"), f"uniform, in angstrom (default: {low:g} {high:g})"),
        (
            "--astigmatism",
            "A",
            "largest difference of the two defoci in angstrom, uniform from 0, in any direction "
            f"(default: {_DEFAULT.astigmatism_angstrom:g})",
        ),
        ("--voltage", "KV", f"in kilovolts (default: {_DEFAULT.voltage_kv:g})"),
        (
            "--cs",
            "MM",
            f"spherical aberration in millimetres (default: {_DEFAULT.spherical_aberration_mm:g})",
        ),
        (
            "--amplitude-contrast",
            "Q",
            f"from 0 to 1 (default: {_DEFAULT.amplitude_contrast:g})",
        ),
        ("--phase-shift", ("MIN", "MAX"), "of a phase plate, uniform, in degrees (default: 0 0)"),
        ("--b-factor", "B", "of the envelope in square angstrom (default: 0)"),
    ):
        group.add_argument(
            flag,
            type=float,
            nargs=2 if isinstance(metavar, tuple) else None,
            metavar=metavar,
            help=f"with --ctf: {meaning}",
        )


def ctf_distribution(args: argparse.Namespace) -> CtfDistribution | None:
    """Gives what CTFs are drawn from, or None without --ctf.

    Raises:
        InputError: a value is out of its range, or given without --ctf.
    """
    given: dict[str, Any] = {
        flag: getattr(args, flag) for flag in _CTF_FLAGS if getattr(args, flag) is not None
    }
    if not args.ctf:
        if given:
            raise InputError(f"--{next(iter(given)).replace('_', '-')} needs --ctf")
        return None
    if "phase_shift" in given:
        low, high = given["phase_shift"]
        if not low <= high:
            raise InputError(
                f"--phase-shift must rise from lowest to highest, not {low:g} {high:g}"
            )
        given["phase_shift"] = np.radians(given["phase_shift"]).tolist()
    values: dict[str, Any] = {
        _CTF_FLAGS[flag]: tuple(value) if isinstance(value, list) else value
        for flag, value in given.items()
    }
    return CtfDistribution(**values)


def noise_spectrum(args: argparse.Namespace) -> NoiseSpectrum | None:
    """Reads or measures the spectrum that --noise-spectrum names.

    Raises:
        InputError: the file is not there, or neither particles nor a table.
    """
    path: Path | None = args.noise_spectrum
    if path is None:
        return None
    if path.suffix.lower() not in _STACKS:
        return read_noise_spectrum(path)
    from cryotwin.datasets.particles import read_particles

    particles = read_particles(path)
    try:
        return radial_power_spectrum(particles.images, particles.pixel_size_angstrom)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def spread_note(ctf: CtfDistribution | None, size: int, pixel_size_angstrom: float) -> str | None:
    """Says it when a CTF carries signal across the edges of the box."""
    box = size * pixel_size_angstrom
    if ctf is None or ctf.spread_angstrom(pixel_size_angstrom) <= box / 2:
        return None
    return (
        f"note: at the highest defocus the CTF carries signal up to "
        f"{ctf.spread_angstrom(pixel_size_angstrom):.0f} A, further than half the box of "
        f"{box:.0f} A: it comes in again on the other side (docs/microscope.md)"
    )
