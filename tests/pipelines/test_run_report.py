import numpy as np

from cryotwin.imaging.ctf import CtfDistribution
from cryotwin.pipelines.run_report import describe_microscope


def test_the_microscope_is_told_with_its_ranges():
    ctf = CtfDistribution(voltage_kv=200.0, defocus_angstrom=(1e4, 2.5e4)).parameters(
        np.random.default_rng(2).random((500, 4))
    )
    told = describe_microscope(ctf)
    assert told["microscope"]["voltage"] == "200 kV"
    low, high = told["defocus_angstrom"].min(), told["defocus_angstrom"].max()
    assert told["microscope"]["defocus"] == f"{low / 1e4:.3g} to {high / 1e4:.3g} µm"
    assert describe_microscope(None) == {}
