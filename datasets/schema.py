"""What one example of a dataset holds: the fields, their meaning and units."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from cryotwin.datasets.quiet_imports import import_tfds

DATASET_NAME = "cryotwin"
"""The name in front of every shard's file name."""

VERSION = "1.0.0"
"""The version of the schema, which tfds shows."""

FORMAT = 1
"""The version of cryotwin.json."""

CTF_FIELDS = {
    "defocus_u_angstrom": "Larger defocus, positive for underfocus, in angstrom",
    "defocus_v_angstrom": "Smaller defocus, in angstrom",
    "defocus_angle_rad": "Angle between the x axis and the direction of defocus_u, in radians",
    "voltage_kv": "Acceleration voltage in kilovolts; zero means that no CTF was applied",
    "spherical_aberration_mm": "Spherical aberration Cs in millimetres",
    "amplitude_contrast": "Amplitude contrast as a fraction",
    "phase_shift_rad": "Phase shift of a phase plate in radians",
    "b_factor_angstrom2": "B-factor of the envelope in square angstrom",
}
"""The contrast transfer function of an image: name and meaning. All zero: none was applied."""

DESCRIPTION = """\
Single-particle cryo-EM images made by `cryotwin generate`: projections of known structures at \
known orientations, for learning and testing the recovery of orientations.

An image is p(y1, y2) = integral over y3 of V(R^T y), shifted by t, multiplied in Fourier space by \
the contrast transfer function of its `ctf` (RELION's convention; all zero means none), with \
Gaussian noise added. The volume V is scaled so that clean projections have variance 1 over all \
pixels, before any CTF: the SNR is 1 / noise_variance. The rows of R are the detector's x axis, \
its y axis and the viewing direction in the object's frame; the origin is pixel N // 2 on every \
axis. The train split is clean unless `perturb_train` is true in cryotwin.json; validation and \
test are perturbed. The volumes stand in volumes/*.mrc, the settings in cryotwin.json."""

CITATION = """\
@misc{banjac2021orientation,
  title = {Learning to recover orientations from projections in single-particle cryo-EM},
  author = {Banjac, Jelena and Donati, Laur\\`ene and Defferrard, Micha\\"el},
  howpublished = {arXiv preprint},
  year = {2021}
}"""


def example_features(size: int, names: Collection[str] | None = None) -> Any:
    """Gives the tfds features, with documentation, of datasets of `size` x `size` images.

    Args:
        size: edge of the images in pixels.
        names: the fields that there are; all when None.

    Returns:
        A `tfds.features.FeaturesDict`.
    """
    features = import_tfds().features

    def tensor(shape: tuple[int, ...], meaning: str, value_range: str | None = None) -> Any:
        doc = features.Documentation(desc=meaning, value_range=value_range)
        return features.Tensor(shape=shape, dtype=np.float32, doc=doc)

    def text(meaning: str) -> Any:
        return features.Text(doc=features.Documentation(desc=meaning))

    ctf = {name: tensor((), meaning) for name, meaning in CTF_FIELDS.items()}
    everything = features.FeaturesDict(
        {
            "image": tensor((size, size), "Particle image [y, x]; its clean part has variance 1"),
            "quaternion": tensor(
                (4,),
                "Orientation (w, x, y, z) of unit length; R has the detector's axes as rows",
                "w >= 0",
            ),
            "shift_angstrom": tensor(
                (2,), "Shift (x, y) of the image's content in angstrom: minus rlnOriginX/YAngst"
            ),
            "structure": text("Name of the structure that was projected"),
            "pixel_size_angstrom": tensor((), "Edge of a pixel in angstrom", "> 0"),
            "key": text("Unique name of the particle: structure and index"),
            "noise_variance": tensor((), "Variance of the added noise; zero means none", ">= 0"),
            "ctf": features.FeaturesDict(
                ctf, doc="Contrast transfer function of the image; all zero means none"
            ),
        }
    )
    if names is None:
        return everything
    return features.FeaturesDict({name: everything[name] for name in everything if name in names})


def no_ctf() -> Mapping[str, np.float32]:
    """Gives the `ctf` field of an image without a contrast transfer function."""
    return dict.fromkeys(CTF_FIELDS, np.float32(0))


def particle_key(structure: str, index: int) -> str:
    """Names particle `index` of a structure."""
    return f"{structure}-{index:07d}"
