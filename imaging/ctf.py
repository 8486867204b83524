"""The contrast transfer function (CTF) of the microscope: C of equation (1), in RELION's terms.

With the wavelength lambda, at the spatial frequency u = (ux, uy) in 1/angstrom (RELION's
`ctf.h`, `ctf.cpp`):

    gamma = pi lambda D(u) |u|^2 - pi / 2 Cs lambda^3 |u|^4 + phase shift + arcsin(Q)
    CTF   = sin(gamma) exp(-B |u|^2 / 4)

where D(u) is the defocus in the direction of u, positive for underfocus, Q the amplitude contrast
and B the B-factor. At frequency zero the CTF is +Q: particles that are brighter than their
surroundings stay so.
"""

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.fourier import FourierDisc

Values = float | NDArray[np.floating]
"""One number for all images, or one for each of them, (P,)."""


@dataclass(frozen=True, eq=False)
class CtfParameters:
    """The CTF of P images; each value is a number or (P,).

    Attributes:
        defocus_u_angstrom: the larger defocus, positive for underfocus.
        defocus_v_angstrom: the smaller defocus, across the direction of the larger.
        defocus_angle_rad: from the x axis to the direction of `defocus_u_angstrom`, towards y.
        voltage_kv: acceleration voltage.
        spherical_aberration_mm: Cs.
        amplitude_contrast: Q, from 0 to 1.
        phase_shift_rad: of a phase plate.
        b_factor_angstrom2: B of the envelope; positive dampens high frequencies.

    Raises:
        InputError: a value is not finite or out of its range, or lengths differ.
    """

    defocus_u_angstrom: Values
    defocus_v_angstrom: Values
    defocus_angle_rad: Values = 0.0
    voltage_kv: Values = 300.0
    spherical_aberration_mm: Values = 2.7
    amplitude_contrast: Values = 0.1
    phase_shift_rad: Values = 0.0
    b_factor_angstrom2: Values = 0.0

    def __post_init__(self) -> None:
        for name, values in self.columns().items():
            if not np.isfinite(values).all():
                raise InputError(f"{name} must be finite, not {values[~np.isfinite(values)][0]}")
        _check_range("voltage_kv", self.voltage_kv, "positive", np.greater(self.voltage_kv, 0))
        contrast = np.asarray(self.amplitude_contrast)
        inside = (contrast >= 0) & (contrast <= 1)
        _check_range("amplitude_contrast", contrast, "from 0 to 1", inside)

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """Gives every value as (P,), by its name."""
        names = [field.name for field in fields(self)]
        values = [np.atleast_1d(np.asarray(getattr(self, name), np.float64)) for name in names]
        try:
            return dict(zip(names, np.broadcast_arrays(*values), strict=True))
        except ValueError:
            lengths = ", ".join(str(len(value)) for value in values)
            raise InputError(f"CTF parameters must be of one length, not of {lengths}") from None

    def part(self, rows: slice | NDArray[np.bool_] | NDArray[np.integer]) -> "CtfParameters":
        """Keeps the images `rows`; what is the CTF of one image stands for all, and stays."""
        columns = self.columns()
        if len(columns["voltage_kv"]) == 1:
            return self
        return CtfParameters(**{name: values[rows] for name, values in columns.items()})


def contrast_transfer(
    parameters: CtfParameters, size: int, pixel_size_angstrom: float
) -> NDArray[np.float32]:
    """Evaluates the CTF at the frequencies of `rfft2` of images of `size` x `size` pixels.

    Phases are added up in single precision: the CTF is exact to about 1e-7 of its largest phase
    in radians, which is below 1e-4 for a defocus of 3 um at a resolution of 2 angstrom.

    Args:
        parameters: of P images.
        size: N, in pixels.
        pixel_size_angstrom: edge of a pixel.

    Returns:
        (P, N, N // 2 + 1), rows along y; to be multiplied with `rfft2(images)`.
    """
    if not pixel_size_angstrom > 0:
        raise InputError(f"pixel size must be a positive number, not {pixel_size_angstrom}")
    of = parameters.columns()
    wavelength = electron_wavelength_angstrom(of["voltage_kv"])
    mean = (of["defocus_u_angstrom"] + of["defocus_v_angstrom"]) / 2
    half = (of["defocus_u_angstrom"] - of["defocus_v_angstrom"]) / 2
    cosine, sine = (half * turn(2 * of["defocus_angle_rad"]) for turn in (np.cos, np.sin))
    quadratic = np.pi * wavelength / pixel_size_angstrom**2
    aberration_angstrom = 1e7 * of["spherical_aberration_mm"]
    quartic = np.pi / 2 * aberration_angstrom * wavelength**3 / pixel_size_angstrom**4
    offset = of["phase_shift_rad"] + np.arcsin(of["amplitude_contrast"])

    ky, kx, product, fourth = _frequencies(size)
    along_y = offset[:, None] + (quadratic * (mean - cosine))[:, None] * ky**2
    along_x = (quadratic * (mean + cosine))[:, None] * kx**2
    gamma = along_y.astype(np.float32)[:, :, None] + along_x.astype(np.float32)[:, None, :]
    gamma -= _numbers(quartic) * fourth
    if half.any():
        gamma += _numbers(2 * quadratic * sine) * product
    transfer: NDArray[np.float32] = np.sin(gamma, out=gamma)
    decay = -of["b_factor_angstrom2"][:, None] / (4 * pixel_size_angstrom**2)
    if decay.any():
        transfer *= np.exp(decay * ky**2).astype(np.float32)[:, :, None]
        transfer *= np.exp(decay * kx**2).astype(np.float32)[:, None, :]
    return transfer


def disc_contrast_transfer(
    parameters: CtfParameters, disc: FourierDisc, pixel_size_angstrom: float
) -> NDArray[np.float32]:
    """Evaluates the CTF at the frequencies of a disc: (P, K), for `images_to_disc`."""
    return contrast_transfer(parameters, disc.size, pixel_size_angstrom)[:, disc.ky, disc.kx]


def full_contrast_transfer(
    parameters: CtfParameters, size: int, pixel_size_angstrom: float
) -> NDArray[np.float32]:
    """Evaluates the CTF at the frequencies of `fft2` of images of `size` x `size` pixels.

    The other half of Fourier space follows from CTF(-u) = CTF(u). This is what an estimator takes
    that has the CTF as an input.

    Returns:
        (P, N, N) as ky, kx, both in the order of `fftfreq`: frequency zero comes first.
    """
    half = contrast_transfer(parameters, size, pixel_size_angstrom)
    mirrored = half[:, -np.arange(size) % size, 1 : (size + 1) // 2]
    return np.concatenate([half, mirrored[:, :, ::-1]], axis=2)


def flip_phases(
    images: NDArray[np.floating], parameters: CtfParameters, pixel_size_angstrom: float
) -> NDArray[np.float32]:
    """Multiplies images by the sign of their CTF in Fourier space: white noise stays white.

    Args:
        images: (P, N, N).
        parameters: of P images, or of one for all.
        pixel_size_angstrom: edge of a pixel.
    """
    transfer = contrast_transfer(parameters, images.shape[-1], pixel_size_angstrom)
    return _filter(images, np.where(transfer < 0, np.float32(-1), np.float32(1)))


def apply_ctf(
    images: NDArray[np.floating], parameters: CtfParameters, pixel_size_angstrom: float
) -> NDArray[np.float32]:
    """Multiplies images by their CTF in Fourier space; periodic at the edges of the box.

    Args:
        images: (P, N, N).
        parameters: of P images, or of one for all.
        pixel_size_angstrom: edge of a pixel.
    """
    return _filter(images, contrast_transfer(parameters, images.shape[-1], pixel_size_angstrom))


def _filter(images: NDArray[np.floating], transfer: NDArray[np.float32]) -> NDArray[np.float32]:
    size = images.shape[-1]
    spectrum = scipy.fft.rfft2(images.astype(np.float32, copy=False))
    spectrum *= transfer
    return scipy.fft.irfft2(spectrum, s=(size, size)).astype(np.float32, copy=False)


def electron_wavelength_angstrom(voltage_kv: Values) -> NDArray[np.float64]:
    """Gives the relativistic wavelength of electrons, with the constants of RELION."""
    volts = 1e3 * np.asarray(voltage_kv, dtype=np.float64)
    return np.asarray(12.2643247 / np.sqrt(volts * (1 + volts * 0.978466e-6)))


_MOST = 1e6
"""No microscope has more in any of the units here; far more would not be finite in float32."""


@dataclass(frozen=True)
class CtfDistribution:
    """What the CTF of a particle is drawn from.

    Attributes:
        defocus_angstrom: lowest and highest; the mean of the two defoci is uniform between them.
        astigmatism_angstrom: the difference of the two defoci is uniform from zero to this, and
            the direction of the larger one uniform.
        voltage_kv: acceleration voltage.
        spherical_aberration_mm: Cs.
        amplitude_contrast: from 0 to 1.
        phase_shift_rad: lowest and highest; uniform between them.
        b_factor_angstrom2: B of the envelope.

    Raises:
        InputError: a value is out of its range.
    """

    defocus_angstrom: tuple[float, float] = (5000.0, 25000.0)
    astigmatism_angstrom: float = 500.0
    voltage_kv: float = 300.0
    spherical_aberration_mm: float = 2.7
    amplitude_contrast: float = 0.1
    phase_shift_rad: tuple[float, float] = (0.0, 0.0)
    b_factor_angstrom2: float = 0.0

    def __post_init__(self) -> None:
        for name in ("defocus_angstrom", "phase_shift_rad"):
            pair = getattr(self, name)
            if not -_MOST <= pair[0] <= pair[1] <= _MOST:
                raise InputError(
                    f"{name} must rise from lowest to highest, within {_MOST:g}, not {pair}"
                )
        for name in ("astigmatism_angstrom", "spherical_aberration_mm", "b_factor_angstrom2"):
            value = getattr(self, name)
            _check_range(name, value, f"from 0 to {_MOST:g}", 0 <= value <= _MOST)
        voltage, contrast = self.voltage_kv, self.amplitude_contrast
        _check_range("voltage_kv", voltage, f"from 1 to {_MOST:g}", 1 <= voltage <= _MOST)
        _check_range("amplitude_contrast", contrast, "from 0 to 1", 0 <= contrast <= 1)

    def parameters(self, uniform: NDArray[np.floating]) -> CtfParameters:
        """Turns numbers uniform on [0, 1), (P, 4), into the CTF of P images."""
        lowest, highest = self.defocus_angstrom
        mean = lowest + (highest - lowest) * uniform[:, 0]
        half = self.astigmatism_angstrom / 2 * uniform[:, 1]
        first, last = self.phase_shift_rad
        return CtfParameters(
            defocus_u_angstrom=mean + half,
            defocus_v_angstrom=mean - half,
            defocus_angle_rad=np.pi * uniform[:, 2],
            voltage_kv=self.voltage_kv,
            spherical_aberration_mm=self.spherical_aberration_mm,
            amplitude_contrast=self.amplitude_contrast,
            phase_shift_rad=first + (last - first) * uniform[:, 3],
            b_factor_angstrom2=self.b_factor_angstrom2,
        )

    def spread_angstrom(self, pixel_size_angstrom: float) -> float:
        """Tells how far from a point of the object the CTF carries its signal, at most.

        That is |d gamma / du| / (2 pi), the largest below Nyquist. Where it is more than half the
        box, the CTF turns faster than the box samples it, and signal comes in again on the other
        side.
        """
        frequency = np.linspace(0, 0.5 / pixel_size_angstrom, 513)
        wavelength = float(electron_wavelength_angstrom(self.voltage_kv))
        bend = 1e7 * self.spherical_aberration_mm * wavelength**3 * frequency**3
        half = self.astigmatism_angstrom / 2
        ends = (self.defocus_angstrom[0] - half, self.defocus_angstrom[1] + half)
        return max(float(np.abs(wavelength * end * frequency - bend).max()) for end in ends)


@lru_cache(maxsize=8)
def _frequencies(size: int) -> tuple[NDArray[np.floating], ...]:
    """Gives ky (N,), kx (N // 2 + 1,), kx ky and |k|^4 on their grid, in cycles per pixel."""
    ky, kx = np.fft.fftfreq(size), np.fft.rfftfreq(size)
    product = (ky[:, None] * kx).astype(np.float32)
    fourth = ((ky[:, None] ** 2 + kx**2) ** 2).astype(np.float32)
    return ky, kx, product, fourth


def _numbers(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Lays out one number for each image, (P,), to be multiplied with a grid."""
    return values.astype(np.float32)[:, None, None]


def _check_range(name: str, values: Values, expected: str, fine: bool | NDArray[np.bool_]) -> None:
    if not np.all(fine):
        bad = np.asarray(values)[~np.asarray(fine)].flat[0]
        raise InputError(f"{name} must be {expected}, not {bad}")
