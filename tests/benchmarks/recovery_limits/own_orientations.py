"""`recover` behind files, as `aspire_orientations.py` is: one process, on the core it is given.

    python -m recovery_limits.own_orientations INPUT.npz OUTPUT.npz

INPUT holds `images` (P, N, N), `pixel_size_angstrom`, `max_shift` (a share of the box) and
`estimator` (a published name). OUTPUT gets `rotations` (P, 3, 3) and `seconds` of the processor,
for loading the estimator and the recovery; imports and files are not counted.
"""

import sys
import time

import keras  # noqa: F401 (so that its import is not counted)
import numpy as np

from cryotwin.imaging.rotations import quaternions_to_matrices
from cryotwin.models.model_files import load
from cryotwin.recovery import recover


def main() -> None:
    """Runs it."""
    data = np.load(sys.argv[1])
    images = data["images"]
    began = time.process_time()
    recovery = recover(
        images,
        load(str(data["estimator"])),
        pixel_size_angstrom=float(data["pixel_size_angstrom"]),
        max_shift_px=float(data["max_shift"]) * images.shape[-1],
        threads=1,
    )
    seconds = time.process_time() - began
    np.savez(sys.argv[2], rotations=quaternions_to_matrices(recovery.quaternions), seconds=seconds)


if __name__ == "__main__":
    main()
