"""Maps from images of known orientation: time and resolution, beside `relion_reconstruct`.

`make bench ARGS="tests/benchmarks/bench_reconstruction.py"` prints, for 1,650 images of the paper's
proteins at 116 px and -12 dB, off the centre by up to 5% of the box, without and with a CTF:

- the seconds of `reconstruct` (one thread, either projector) and of `relion_reconstruct` on the
  same orientations.star, in one run, by the wall and by the processor. RELION reads its images from
  a stack, which takes it part of a second;
- the resolution at FSC 0.5 of both maps against the true one, without a mask and within one soft
  mask of the particle, and the least FSC between the two maps up to 80% of Nyquist. Most of what
  they share there is noise, which the damping weighs otherwise than RELION: hence without it too;
- the seconds of both half maps with two threads, and of the alignment of two maps.
"""

import resource
import shutil
import subprocess
import time

import mrcfile
import numpy as np
import pandas as pd
import pytest
from target_views import LARGEST_SHIFT_PX, PIXEL_SIZES_ANGSTROM, SIZE, SYMMETRIES, target_volume

from cryotwin.datasets.particle_set import ParticleSet
from cryotwin.datasets.star_files import write_orientations_star
from cryotwin.imaging.ctf import CtfDistribution
from cryotwin.imaging.microscope import shift_and_apply_ctf, shift_images, snr_from_db
from cryotwin.imaging.projection import project_volume
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions
from cryotwin.recovery.evaluation import compare_aligned_maps
from cryotwin.recovery.map_alignment import MapAlignment, align_maps
from cryotwin.recovery.masking import soft_particle_mask
from cryotwin.recovery.reconstruction import reconstruct, reconstruct_halves
from cryotwin.recovery.resolution import fourier_shell_correlation, soft_sphere_mask

COUNT, SNR_DB = 1650, -12
LEAST_DAMPING = 0.01
CTF = CtfDistribution()


class Views:
    """Noisy images of a particle with all that is known of them."""

    def __init__(self, name: str, with_ctf: bool) -> None:
        rng = np.random.default_rng(0)
        self.name, self.symmetry = name, SYMMETRIES[name]
        self.pixel_size_angstrom = PIXEL_SIZES_ANGSTROM[name]
        self.volume = target_volume(name)
        self.quaternions = uniform_quaternions(COUNT, rng)
        self.rotations = quaternions_to_matrices(self.quaternions)
        self.shifts_px = rng.uniform(-LARGEST_SHIFT_PX, LARGEST_SHIFT_PX, (COUNT, 2))
        self.ctf = CTF.parameters(rng.random((COUNT, 4))) if with_ctf else None
        images = project_volume(self.volume, self.rotations, backend="gridding")
        if self.ctf is None:
            images = shift_images(images, self.shifts_px)
        else:
            images = shift_and_apply_ctf(images, self.shifts_px, self.ctf, self.pixel_size_angstrom)
        noise = rng.standard_normal(images.shape, np.float32)
        self.images = images + noise / np.float32(np.sqrt(snr_from_db(SNR_DB)))

    @property
    def settings(self):
        """What a reconstruction takes besides images and rotations."""
        return {
            "shifts_px": self.shifts_px,
            "ctf": self.ctf,
            "pixel_size_angstrom": self.pixel_size_angstrom,
            "symmetry": self.symmetry,
        }


@pytest.mark.parametrize("with_ctf", [False, True], ids=["plain", "ctf"])
@pytest.mark.parametrize("name", ["5j0n", "5a1a"])
def test_a_map_beside_that_of_relion(name, with_ctf, tmp_path, record_result):
    views = Views(name, with_ctf)
    title = f"{name} ({views.symmetry}), {'CTF' if with_ctf else 'no CTF'}"
    reconstruct(views.images[:8], views.rotations[:8])  # numba compiles.
    maps, clocks = {}, {}
    for backend in ("gridding", "nufft"):
        begin = time.perf_counter(), time.process_time()
        maps[backend] = reconstruct(
            views.images, views.rotations, **views.settings, backend=backend
        )
        clocks[backend] = time.perf_counter() - begin[0], time.process_time() - begin[1]
    if shutil.which("relion_reconstruct") is not None:
        write_star(tmp_path, views)
        maps["relion"], clocks["relion"] = run_relion(tmp_path, views)
    for program, (wall, processor) in clocks.items():
        record_result(
            f"{title}, {program:<9} {wall:6.2f} s, {processor:6.2f} s of processor, "
            f"{1e3 * processor / COUNT:.2f} ms an image"
        )
    mask = soft_particle_mask(maps["gridding"])
    resolutions = {}
    for program, found in maps.items():
        compared = compare_aligned_maps(found, views.volume, views.pixel_size_angstrom, mask=mask)
        resolutions[program] = compared.resolution_masked_angstrom
        record_result(
            f"{title}, {program:<9} at FSC 0.5 {compared.resolution_no_mask_angstrom:.2f} A "
            f"without a mask, {compared.resolution_masked_angstrom:.2f} A within the particle's"
        )
    if "relion" in maps:
        ratio = clocks["relion"][1] / clocks["gridding"][1]
        bare = reconstruct(views.images, views.rotations, **views.settings, damping=LEAST_DAMPING)
        least = [least_agreement(found, maps["relion"]) for found in (maps["gridding"], bare)]
        record_result(
            f"{title}: RELION takes {ratio:.1f} times the processor's time, least FSC between the "
            f"two to 80% of Nyquist {least[0]:.4f}, {least[1]:.4f} at a damping of {LEAST_DAMPING}"
        )
        assert resolutions["gridding"] <= 1.01 * resolutions["relion"]


@pytest.mark.parametrize("count", [200, COUNT])
def test_the_damping_that_is_measured_beside_fixed_ones(count, record_result):
    views = Views("5j0n", True)
    settings = views.settings | {
        "shifts_px": views.shifts_px[:count],
        "ctf": views.ctf.part(slice(count)),
    }
    found = {
        damping: reconstruct(
            views.images[:count], views.rotations[:count], **settings, damping=damping
        )
        for damping in (None, 0.01, 0.1, 1.0, 3.0)
    }
    mask = soft_particle_mask(views.volume)
    agreement = {}
    for damping, volume in found.items():
        compared = compare_aligned_maps(volume, views.volume, views.pixel_size_angstrom, mask=mask)
        agreement[damping] = compared.fsc_masked[1:].mean()
        record_result(
            f"5j0n, CTF, {count} images, damping {'measured' if damping is None else damping}: "
            f"{compared.resolution_masked_angstrom:.2f} A within the true map's mask, "
            f"mean FSC {agreement[damping]:.4f}"
        )
    assert agreement[None] > 0.98 * max(agreement.values())


def least_agreement(first, second):
    """The least FSC of two maps within a wide sphere, up to 80% of Nyquist."""
    sphere = soft_sphere_mask(SIZE, 0.42 * SIZE, 0.06 * SIZE)
    curve = fourier_shell_correlation(first, second, mask=sphere)
    return curve[: int(0.8 * SIZE / 2) + 1].min()


def test_half_maps_and_an_alignment(record_result):
    views = Views("5j0n", False)
    reconstruct(views.images[:8], views.rotations[:8])
    begin = time.perf_counter()
    halves = reconstruct_halves(
        views.images, views.rotations, np.arange(COUNT) % 2, **views.settings, threads=2
    )
    record_result(f"5j0n, both half maps, two threads: {time.perf_counter() - begin:.2f} s")
    pose = MapAlignment(views.rotations[0], True, np.array([3.0, -2.0, 5.5]), 1.0)
    begin = time.perf_counter()
    found = align_maps(halves[0], pose.apply(halves[1]))
    record_result(f"5j0n, alignment of two half maps: {time.perf_counter() - begin:.2f} s")
    assert found.inverted
    assert np.trace(found.rotation.T @ pose.rotation) > 1 + 2 * np.cos(0.03)


def write_star(folder, views):
    """Writes the images and orientations.star, as `recover` does."""
    with mrcfile.new(folder / "particles.mrcs", data=views.images) as file:
        file.voxel_size = views.pixel_size_angstrom
    optics = {
        "rlnOpticsGroup": [1],
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnVoltage": [CTF.voltage_kv],
        "rlnSphericalAberration": [CTF.spherical_aberration_mm],
        "rlnAmplitudeContrast": [CTF.amplitude_contrast],
    }
    particles = ParticleSet(
        views.images,
        views.pixel_size_angstrom,
        [f"p-{n}" for n in range(COUNT)],
        optics=pd.DataFrame(optics),
    )
    if views.ctf is not None:
        of = views.ctf.columns()
        columns = {
            "rlnDefocusU": of["defocus_u_angstrom"],
            "rlnDefocusV": of["defocus_v_angstrom"],
            "rlnDefocusAngle": np.degrees(of["defocus_angle_rad"]),
            "rlnOpticsGroup": np.ones(COUNT, dtype=int),
        }
        particles.columns = pd.DataFrame(columns)
    write_orientations_star(
        folder / "orientations.star",
        particles,
        views.quaternions,
        views.shifts_px * views.pixel_size_angstrom,
        image_names=[f"{n + 1:06d}@particles.mrcs" for n in range(COUNT)],
    )


def run_relion(folder, views):
    """Gives RELION's map, and its seconds by the wall and by the processor."""
    words = ["relion_reconstruct", "--i", "orientations.star", "--o", "relion.mrc"]
    words += ["--sym", views.symmetry, *(["--ctf"] if views.ctf is not None else [])]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    wall = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    with mrcfile.open(folder / "relion.mrc") as file:
        return file.data.copy(), (wall, processor)
