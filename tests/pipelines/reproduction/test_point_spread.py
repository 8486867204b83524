"""The PSF: how defocus is asked for, what is made of a CTF, and whether trends are told right."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from cryotwin.imaging.ctf import CtfParameters, contrast_transfer
from cryotwin.pipelines.reproduction.point_spread import (
    AS_INPUT,
    FLIPPED,
    NO_CTF,
    UNCORRECTED,
    ctf_distribution,
    draw,
    trends,
    ways,
)
from cryotwin.pipelines.reproduction.result import OURS, PAPER
from cryotwin.pipelines.reproduction.run import jsonable


def case(way, paper, ours, *, changes=4.0, noise=0.0):
    def found(loss):
        return {"distance_loss": loss, "o4_error": loss, "whole_physical_error": loss / 2}

    return {
        "noise_variance": noise,
        "sign_changes": changes,
        "way": way,
        PAPER: None if paper is None else found(paper),
        OURS: found(ours),
    }


def cases(uncorrected, flipped, *, ours=(0.01, 0.02, 0.03, 0.04)):
    return [
        case(NO_CTF, 0.1, ours[0], changes=0),
        case(UNCORRECTED, 0.01, 9.0, changes=1.0),  # A weaker CTF, which is not looked at,
        case(UNCORRECTED, uncorrected, ours[3]),
        case(FLIPPED, flipped, ours[2]),
        case(AS_INPUT, None, ours[1]),
        case(UNCORRECTED, 0.01, 9.0, noise=4.0),  # and neither is stronger noise.
    ]


@pytest.mark.parametrize("changes", [1, 4, 9])
def test_the_ctf_of_the_highest_defocus_changes_its_sign_as_often_as_asked_for(changes):
    pixel_size = 13.3
    lowest, highest = ctf_distribution(changes, pixel_size).defocus_angstrom
    assert highest == pytest.approx(5 * lowest)
    size = 512
    parameters = CtfParameters(highest, highest, amplitude_contrast=0.0)
    signs = np.sign(contrast_transfer(parameters, size, pixel_size)[0, 0, 1 : size // 2])
    # The last change is where the phase reaches so many times pi: at Nyquist itself.
    assert np.count_nonzero(np.diff(signs)) == changes - 1


def test_nothing_is_flipped_where_the_sign_does_not_change():
    assert ctf_distribution(0, 3.0) is None
    assert ways(0) == (NO_CTF,)
    assert FLIPPED not in ways(1)
    assert ways(4) == (UNCORRECTED, FLIPPED, AS_INPUT)


def test_the_paper_s_defocus_changes_the_sign_nine_times_in_its_images_of_5j0n():
    assert ctf_distribution(9.15, 3.67).defocus_angstrom == pytest.approx((5000, 25000), rel=0.01)


@pytest.mark.parametrize(
    ("uncorrected", "flipped", "holds"),
    [
        (0.3, 0.2, [True, True]),
        (0.3, 0.4, [True, False]),
        (0.05, 0.04, [False, True]),  # No worse than without.
        (0.9, 0.2, [False, True]),  # Not learned at all.
    ],
)
def test_trends_of_the_paper_s_column_are_those_of_the_strongest_ctf(uncorrected, flipped, holds):
    assert [trend.holds for trend in trends(cases(uncorrected, flipped))][:2] == holds


def test_what_a_network_is_told_must_help_ours_at_every_step():
    assert trends(cases(0.3, 0.2))[2].holds
    assert not trends(cases(0.3, 0.2, ours=(0.01, 0.04, 0.03, 0.05)))[2].holds


def test_the_figure_is_drawn_from_json():
    figure = Figure()
    draw(figure, jsonable({"cases": cases(0.3, 0.2)}))
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    assert sorted(heights)[:3] == [0.01, 0.01, 0.01]
    assert len(heights) == 5 + 6
