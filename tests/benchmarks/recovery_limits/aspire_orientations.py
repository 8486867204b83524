"""ASPIRE's ab initio orientations behind files: it runs in an environment of its own.

    python aspire_orientations.py INPUT.npz OUTPUT.npz

INPUT holds `images` (P, N, N), `pixel_size_angstrom`, `method` ("voting" or "lud"), `denoise`
(bool) and `max_shift` (a share of the box). OUTPUT gets `rotations` (P, 3, 3) in this repository's
conventions and `seconds` of the processor, for denoising and estimation; imports and files are not
counted.
"""

import sys
import time

import numpy as np
from aspire.abinitio import CLSyncVoting, CommonlineLUD
from aspire.denoising import DenoisedSource, DenoiserCov2D
from aspire.source import ArrayImageSource

METHODS = {"voting": CLSyncVoting, "lud": CommonlineLUD}


def main() -> None:
    data = np.load(sys.argv[1])
    began = time.process_time()
    source = ArrayImageSource(
        data["images"].astype(np.float32), pixel_size=float(data["pixel_size_angstrom"])
    )
    if data["denoise"]:
        source = DenoisedSource(source, DenoiserCov2D(source)).cache()
    method = METHODS[str(data["method"])]
    estimator = method(source, max_shift=float(data["max_shift"]))
    estimator.estimate_rotations()
    seconds = time.process_time() - began
    # ASPIRE's matrices are the transposed ones.
    rotations = np.asarray(estimator.rotations, dtype=np.float64).transpose(0, 2, 1)
    np.savez(sys.argv[2], rotations=rotations, seconds=seconds)


if __name__ == "__main__":
    main()
