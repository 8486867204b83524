import numpy as np

from cryotwin.recovery.confidence import (
    judge_orientations,
    likely_particles,
    particle_confidence,
)


def test_confidence_of_particles_that_are_all_alike_is_even():
    numbers = np.random.default_rng(1).standard_normal((3, 4000))

    confidence = particle_confidence(*numbers)

    counts, _ = np.histogram(confidence, bins=10, range=(0, 1))
    assert counts.min() > 300
    assert counts.max() < 500


def test_confidence_does_not_depend_on_units():
    first, second = np.random.default_rng(2).standard_normal((2, 100))

    scaled = particle_confidence(3 * first + 7, 1e-3 * second)

    assert np.allclose(scaled, particle_confidence(first, second))


def test_what_is_odd_in_one_way_has_low_confidence():
    residuals, lines = np.random.default_rng(3).standard_normal((2, 200))
    residuals[0] += 10
    lines[1] += 10

    confidence = particle_confidence(residuals, lines)

    assert confidence[:2].max() < 1e-4
    assert np.median(confidence[2:]) > 0.4


def test_particles_without_any_difference_are_as_good_as_each_other():
    assert np.array_equal(particle_confidence(np.ones(5)), np.full(5, 0.5))


def test_particles_whose_distances_fit_badly_are_no_partners():
    residuals = np.random.default_rng(4).uniform(0.9, 1.1, 100)
    residuals[:10] = 3

    assert np.array_equal(likely_particles(residuals), np.arange(100) >= 10)


def test_orientations_are_trusted_when_distances_and_images_agree():
    significant, none = np.full(50, 6.0), np.random.default_rng(5).standard_normal(50)

    assert judge_orientations(True, "8 of 8 starts agree", significant).trusted
    without_lines = judge_orientations(True, "8 of 8 starts agree", none)
    assert not without_lines.trusted
    assert "8 of 8 starts agree, but" in without_lines.reason
    without_starts = judge_orientations(False, "1 of 8 starts agrees", significant)
    assert not without_starts.trusted
    assert without_starts.reason == "1 of 8 starts agrees"
