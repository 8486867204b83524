"""Images as an estimator wants them: checked, and at the pixel size that it was trained for."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.ctf import CtfParameters, flip_phases, full_contrast_transfer
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.fourier import resize_images
from cryotwin.imaging.point_groups import parse_point_group

LEAST_SIZE = 16
_SAME_PIXEL_SIZE = 0.02
_LEAST_BOX = 0.8
_COARSEST = 2.0
"""Pixels more than this many times the estimator's lack the detail that it looks for."""


def check_images(
    images: NDArray[np.floating], *, source: str = "", keys: Sequence[str] | None = None
) -> None:
    """Checks that images are numbers (P, N, N), P >= 1, N >= 16, finite and none constant.

    Args:
        images: what to check.
        source: the file or folder that they came from, for the message.
        keys: P names of the particles, for the message; without, they are counted from 0.

    Raises:
        InputError: they are not; the message names the first image that is bad.
    """
    where = f"{source}: " if source else ""
    if not (np.issubdtype(images.dtype, np.floating) or np.issubdtype(images.dtype, np.integer)):
        raise InputError(f"{where}images must be real numbers, not {images.dtype}")
    if images.ndim != 3 or images.shape[1] != images.shape[2]:
        raise InputError(
            f"{where}images must be a stack (P, N, N) of square images, not {images.shape}"
        )
    if len(images) == 0:
        raise InputError(f"{where}there are no images, at least one was expected")
    if images.shape[1] < LEAST_SIZE:
        raise InputError(
            f"{where}images of {images.shape[1]} px are too small for an estimator; "
            f"at least {LEAST_SIZE} px are expected"
        )
    least, most = images.min(axis=(1, 2)), images.max(axis=(1, 2))
    finite = np.isfinite(least) & np.isfinite(most)
    if not finite.all():
        bad = _image_name(int(np.argmin(finite)), keys)
        raise InputError(f"{where}{bad} has values that are not finite (NaN or infinity)")
    if (least == most).any():
        bad = _image_name(int(np.argmax(least == most)), keys)
        raise InputError(f"{where}{bad} is constant: there is no particle in it")


def _image_name(place: int, keys: Sequence[str] | None) -> str:
    return f"image {place if keys is None else keys[place]}"


def check_estimator_symmetry(symmetry: str, metadata: Mapping[str, Any]) -> None:
    """Checks that an estimator gives distances under the point group that is asked for.

    Args:
        symmetry: a name that `cryotwin.imaging.point_groups` knows.
        metadata: of the estimator; without `symmetry` it is taken for whatever is asked.

    Raises:
        InputError: it was trained for another point group.
    """
    trained = parse_point_group(str(metadata.get("symmetry", symmetry)))
    if parse_point_group(symmetry) != trained:
        raise InputError(
            f"symmetry must be {trained!r}, which the estimator {metadata.get('name', '')} "
            f"({metadata.get('structure', 'structure unknown')}) was trained for, not {symmetry!r}"
        )


def estimator_inputs(
    images: NDArray[np.floating],
    pixel_size_angstrom: float,
    metadata: Mapping[str, Any],
    ctf: CtfParameters | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Brings particle images, and their CTF if it is asked for, to the form an estimator takes.

    Args:
        images: (P, N, N).
        pixel_size_angstrom: of the images.
        metadata: of the estimator; `takes_ctf` and `phase_flip` ask for a CTF.
        ctf: of the P images; None if they have none or it is not known.

    Returns:
        Images (P, n, n) as `fit_images` gives them, their phases flipped before if the estimator
        was trained on such, and the CTF (P, n, n) if it takes one, else None.

    Raises:
        InputError: the estimator needs the CTF and there is none, or as `fit_images`.
    """
    takes, flips = bool(metadata.get("takes_ctf")), bool(metadata.get("phase_flip"))
    if not takes and not flips:
        return fit_images(images, pixel_size_angstrom, metadata), None
    if ctf is None:
        raise InputError(
            f"the estimator {metadata.get('name', '')} needs the CTF of each image, "
            "but the particles have none (expected a dataset made with --ctf, or a .star or .cs "
            "file with defocus, voltage, Cs and amplitude contrast)"
        )
    size = images.shape[-1]
    if flips:
        images = flip_phases(images, ctf, pixel_size_angstrom)
    fitted = fit_images(images, pixel_size_angstrom, metadata)
    return fitted, fit_ctf(ctf, size, pixel_size_angstrom, metadata) if takes else None


def fit_ctf(
    ctf: CtfParameters, size: int, pixel_size_angstrom: float, metadata: Mapping[str, Any]
) -> NDArray[np.float32]:
    """Evaluates the CTF for images after `fit_images`.

    Args:
        ctf: of P images.
        size: N of the images before.
        pixel_size_angstrom: of the images before.
        metadata: of the estimator.

    Returns:
        (P, n, n), in the layout of `cryotwin.imaging.ctf.full_contrast_transfer`.
    """
    resampled = _resampled_size(size, pixel_size_angstrom, metadata)
    return full_contrast_transfer(
        ctf,
        int(metadata["box_px"]) if _has_frame(metadata) else size,
        pixel_size_angstrom * size / resampled,
    )


def fit_images(
    images: NDArray[np.floating], pixel_size_angstrom: float, metadata: Mapping[str, Any]
) -> NDArray[np.float32]:
    """Resamples images to an estimator's pixel size and cuts or pads them to its box.

    Args:
        images: (P, N, N).
        pixel_size_angstrom: of the images.
        metadata: of the estimator; without `pixel_size_angstrom` images stay as they are.

    Raises:
        InputError: the images show much less of the surroundings than the estimator was trained
            for, so particles would be cut.
    """
    if not 0 < pixel_size_angstrom < np.inf:
        raise InputError(f"pixel size must be above 0 angstrom, not {pixel_size_angstrom}")
    if not _has_frame(metadata):
        return images.astype(np.float32, copy=False)
    box, wanted = int(metadata["box_px"]), float(metadata["pixel_size_angstrom"])
    extent = images.shape[-1] * pixel_size_angstrom
    if extent < _LEAST_BOX * box * wanted:
        raise InputError(
            f"images of {images.shape[-1]} px at {pixel_size_angstrom:.3g} A show {extent:.0f} A, "
            f"but the estimator {metadata.get('name', '')} was trained on {box * wanted:.0f} A "
            f"({box} px at {wanted:.3g} A); at least {_LEAST_BOX:.0%} of that is expected"
        )
    if pixel_size_angstrom > _COARSEST * wanted:
        raise InputError(
            f"images have pixels of {pixel_size_angstrom:.3g} A, but the estimator "
            f"{metadata.get('name', '')} was trained on {wanted:.3g} A; at most "
            f"{_COARSEST * wanted:.3g} A are expected"
        )
    resampled = _resampled_size(images.shape[-1], pixel_size_angstrom, metadata)
    return _cut_or_pad(resize_images(images, resampled), box).astype(np.float32, copy=False)


def describe_fit(size: int, pixel_size_angstrom: float, metadata: Mapping[str, Any]) -> str | None:
    """Says what `fit_images` does to images for an estimator; None if they fit as they are.

    Args:
        size: N of the images.
        pixel_size_angstrom: of the images.
        metadata: of the estimator.
    """
    if not _has_frame(metadata):
        return None
    box, wanted = int(metadata["box_px"]), float(metadata["pixel_size_angstrom"])
    resampled = _resampled_size(size, pixel_size_angstrom, metadata)
    if resampled == size == box:
        return None
    change = []
    if resampled != size:
        change.append(f"resampled to {size * pixel_size_angstrom / resampled:.3g} A per pixel")
    if resampled != box:
        change.append(f"{'cut' if resampled > box else 'padded'} to {box} px")
    return (
        f"the images ({size} px of {pixel_size_angstrom:.3g} A) are {' and '.join(change)} for the "
        f"estimator {metadata.get('name', '')}, which was trained on {box} px of {wanted:.3g} A; "
        "refinement and map use them as they are"
    )


def _has_frame(metadata: Mapping[str, Any]) -> bool:
    return "pixel_size_angstrom" in metadata and "box_px" in metadata


def _resampled_size(size: int, pixel_size_angstrom: float, metadata: Mapping[str, Any]) -> int:
    """Tells to how many pixels the images' box is resampled; pixels that fit already stay."""
    wanted = float(metadata.get("pixel_size_angstrom", pixel_size_angstrom))
    if not _has_frame(metadata) or abs(pixel_size_angstrom / wanted - 1) <= _SAME_PIXEL_SIZE:
        return size
    return round(size * pixel_size_angstrom / wanted)


def _cut_or_pad(images: NDArray[np.floating], size: int) -> NDArray[np.floating]:
    """Centres images in a box of another size; new pixels get the mean of each image's border."""
    old = images.shape[-1]
    if old == size:
        return images
    border = np.concatenate(
        [images[:, 0], images[:, -1], images[:, 1:-1, 0], images[:, 1:-1, -1]], axis=1
    ).mean(axis=1)
    fitted = np.broadcast_to(border[:, None, None], (len(images), size, size)).copy()
    shared = min(old, size)
    source = old // 2 - shared // 2
    target = size // 2 - shared // 2
    fitted[:, target : target + shared, target : target + shared] = images[
        :, source : source + shared, source : source + shared
    ]
    return fitted
