"""ASPIRE's projector behind a pipe, for the benchmark: it runs in an environment of its own.

    python aspire_projector.py INPUT.npz OUTPUT.npy

INPUT holds `volume` (N, N, N) and `rotations` (P, 3, 3) in this repository's conventions. Every
line on the standard input asks for all P images; the answer is the time in seconds on a line that
starts with "seconds". OUTPUT gets the images (P, N, N) once, before the first answer.
"""

import sys
import time

import numpy as np
from aspire.volume import Volume


def main() -> None:
    data = np.load(sys.argv[1])
    volume = Volume(data["volume"])
    # ASPIRE takes the transposed matrices and divides by N.
    rotations = np.ascontiguousarray(data["rotations"].transpose(0, 2, 1))
    images = volume.project(rotations).asnumpy()
    np.save(sys.argv[2], images * data["volume"].shape[0])
    for _ in sys.stdin:
        start = time.perf_counter()
        volume.project(rotations)
        print("seconds", time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
