"""What a report shows, made up."""

import numpy as np
import pytest

from cryotwin.imaging.rotations import pairwise_distances, uniform_quaternions
from cryotwin.recovery.report_content import ReportContent
from cryotwin.recovery.resolution import fourier_shell_correlation


def _blobs(size, centres, width=2.0):
    """A map (size, size, size) of Gaussians at `centres`, (x, y, z) from the origin voxel."""
    axis = np.arange(size) - size // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    squares = [(x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2 for cx, cy, cz in centres]
    return sum(np.exp(-square / (2 * width**2)) for square in squares).astype(np.float32)


def _content(*, truth=True, **changes):
    rng = np.random.default_rng(0)
    size, count = 24, 80
    volume = _blobs(size, [(0, 0, 0), (5, 0, 0), (0, 4, 3)])
    halves = [volume + 0.05 * rng.standard_normal(volume.shape) for _ in range(2)]
    quaternions = uniform_quaternions(count, rng)
    distances = pairwise_distances(quaternions)[np.triu_indices(count, 1)]
    fields = {
        "title": "A <bold> title & more",
        "command": "cryotwin recover particles.star --out 'a <b>'",
        "particles_source": "particles.star",
        "pixel_size_angstrom": 2.0,
        "images_sample": rng.standard_normal((4, size, size)),
        "quaternions": quaternions,
        "volume": sum(halves) / 2,
        "estimated_distances": 0.9 * distances,
        "true_distances": distances if truth else None,
        "embedding_losses": np.array([0.2, 0.03, 0.03]),
        "embedding_loss": 0.03,
        "embedding_trusted": truth,
        "embedding_reason": "2 of 3 starts agree.",
        "common_line": {"before": 0.1, "after": 0.4},
        "gauge_candidates": {"as estimated": 0.2, "transposed": 0.4},
        "refinement_rounds": [
            {
                "round": number,
                "resolution_limit_angstrom": 20.0 / number,
                "mean_change_rad": 0.1 / number,
                "physical_error_rad": 0.05 if truth else None,
            }
            for number in (1, 2)
        ],
        "physical_errors": rng.uniform(0, 0.1, count) if truth else None,
        "o4_error_rad": 0.04 if truth else None,
        "curves": {
            "half maps, masked": fourier_shell_correlation(*halves),
            **(
                {"against the truth, masked": fourier_shell_correlation(halves[0], volume)}
                if truth
                else {}
            ),
        },
        "resolutions": {"half_maps_0143": 9.9, "against_truth_05": 11.1 if truth else None},
        "seconds": {"embedding": 2.0, "refinement": 63.0},
        "versions": {"cryotwin": "0.1.0"},
        "estimator": {"name": "7cfn", "trained": {"snr_db": -6}},
        "settings": {"seed": 0, "refine": True, "mask": None},
        "warnings": ["Images are few."],
    }
    return ReportContent(**{**fields, **changes})


@pytest.fixture(scope="session")
def some_content():
    """Gives some_content(truth=True, **changes): made up, with or without what the truth adds."""
    return _content
