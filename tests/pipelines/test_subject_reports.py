from cryotwin.imaging.maps import write_map
from cryotwin.imaging.structures import read_structure
from cryotwin.imaging.volumes import structure_volume
from cryotwin.pipelines.generate_command import _describe
from cryotwin.pipelines.subjects import read_subjects


def test_generate_says_what_it_kept_and_left_out_of_a_structure():
    (subject,) = read_subjects(["7cfn"], size=32)
    assert subject.report == read_structure("7cfn").report
    line = _describe(subject, chosen=True)
    assert "kept 7,979 protein, 110 ligand; left out 1 water, 22 other conformations" in line
    assert "\n" not in line


def test_generate_says_that_it_turned_a_dark_map(tmp_path):
    made = structure_volume(read_structure("7cfn"), size=32)
    write_map(tmp_path / "dark.mrc", -made.volume, made.pixel_size_angstrom)
    (subject,) = read_subjects([str(tmp_path / "dark.mrc")], size=32)
    assert "contrast inverted; matter was dark: the sign was turned" in _describe(
        subject, chosen=True
    )
    assert subject.volume.max() > -subject.volume.min()
