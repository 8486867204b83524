"""How well confidence tells junk from particles, and what junk does to the particles.

`make bench ARGS="tests/benchmarks/bench_confidence.py"` recovers 800 images of 5J0N at -6 dB, with
shifts of 5% of the box, alone and among 200 images of junk, by the published estimator. It prints,
for each kind of junk, before and after refinement: the area under the ROC curve of the confidence,
and the mean physical error of the particles, to be compared with that without junk.
"""

import keras
import numpy as np
import pytest
from junk_images import KINDS, clean_junk
from scipy.stats import mannwhitneyu
from target_views import LARGEST_SHIFT_PX, PIXEL_SIZES_ANGSTROM, target_views, with_noise

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.microscope import shift_images
from cryotwin.models import build, load
from cryotwin.recovery import recover
from cryotwin.recovery.alignment import align_orientations

NAME = "5j0n"
GOOD, JUNK = 800, 200
SNR_DB = -6
LEAST_AREA = 0.95
PIXEL_SIZE = PIXEL_SIZES_ANGSTROM[NAME]


@pytest.fixture(scope="module")
def views():
    return target_views(NAME, GOOD)


@pytest.mark.parametrize("refine", [False, True], ids=["before refinement", "after refinement"])
@pytest.mark.parametrize("kind", [None, *KINDS])
def test_junk_has_low_confidence_and_does_no_harm(views, kind, refine, record_result):
    clean, true = views
    images = clean
    if kind is not None:
        images = np.concatenate([clean, clean_junk(kind, JUNK, clean, PIXEL_SIZE)])
    rng = np.random.default_rng(1)
    shifts = rng.uniform(-LARGEST_SHIFT_PX, LARGEST_SHIFT_PX, (len(images), 2))
    images = with_noise(shift_images(images, shifts), SNR_DB, rng)
    order = rng.permutation(len(images))

    found = recover(
        images[order],
        load(NAME),
        pixel_size_angstrom=PIXEL_SIZE,
        max_shift_px=LARGEST_SHIFT_PX,
        refine=refine,
    )

    good = order < GOOD
    error = align_orientations(found.quaternions[good], true[order[good]]).mean_error
    line = f"{kind or 'no junk'}, {'after' if refine else 'before'} refinement: "
    if kind is not None:
        area = _area(found.confidence[good], found.confidence[~good])
        line += f"area {area:.3f}, "
    record_result(f"{line}physical error of the particles {error:.4f} rad")
    assert found.metrics["embedding_trusted"]
    if kind is not None:
        assert area >= LEAST_AREA


def test_an_untrained_estimator_is_not_trusted(views, record_result):
    rng = np.random.default_rng(2)
    keras.utils.set_random_seed(0)
    untrained = build("resnet_small", feature_dim=32)
    noise = rng.standard_normal((500, 64, 64), np.float32)
    for what, images in (("noise", noise), ("views at -6 dB", with_noise(views[0], SNR_DB, rng))):
        try:
            metrics = recover(
                images[:500], untrained, pixel_size_angstrom=PIXEL_SIZE, refine=False
            ).metrics
        except InputError as error:
            record_result(f"an untrained estimator on {what} is refused: {error}")
            continue
        record_result(f"an untrained estimator on {what}: {metrics['embedding_trust_reason']}")
        assert not metrics["embedding_trusted"]


def _area(good, junk):
    return mannwhitneyu(good, junk).statistic / (len(good) * len(junk))
