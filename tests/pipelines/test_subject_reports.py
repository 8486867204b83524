from cryotwin.datasets.folder import open_folder
from cryotwin.imaging.maps import read_map, write_map
from cryotwin.imaging.structures import read_structure
from cryotwin.imaging.volumes import structure_volume
from cryotwin.pipelines.command_line import main

SMALL = ["--size", "32", "--count", "6"]


def test_generate_says_what_it_kept_and_left_out_of_a_structure(tmp_path, capsys):
    assert main(["generate", "7cfn", "--out", str(tmp_path / "data"), *SMALL]) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert "kept 7,979 protein, 110 ligand; left out 1 water, 22 other conformations" in line
    (structure,) = open_folder(tmp_path / "data").metadata["structures"]
    assert structure["report"] == read_structure("7cfn").report


def test_generate_says_that_it_turned_a_dark_map(tmp_path, capsys):
    made = structure_volume(read_structure("7cfn"), size=32)
    write_map(tmp_path / "dark.mrc", -made.volume, made.pixel_size_angstrom)
    words = ["generate", str(tmp_path / "dark.mrc"), "--out", str(tmp_path / "data"), *SMALL]
    assert main(words) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert "contrast inverted; matter was dark: the sign was turned" in line
    projected = read_map(tmp_path / "data" / "volumes" / "dark.mrc").data
    assert projected.max() > -projected.min()
