"""The tfds dataset of the paper's experiments, on small stand-ins for its two structures."""

import dataclasses
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

import cryotwin.datasets
from cryotwin.datasets.cryotwin_projections.dummy_data import FOLDER, write_dummy_data
from cryotwin.datasets.cryotwin_projections.sources import SOURCES, read_source, source_volume
from cryotwin.datasets.folder import load_split, open_folder
from cryotwin.datasets.perturbation import Perturbation
from cryotwin.datasets.quiet_imports import import_tfds
from cryotwin.datasets.splits import SPLITS, split_sizes
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.structures import read_structure

tfds = import_tfds()

from cryotwin.datasets.cryotwin_projections.configs import (  # noqa: E402
    CONFIGS,
    ProjectionsConfig,
)
from cryotwin.datasets.cryotwin_projections.cryotwin_projections_dataset_builder import (  # noqa: E402
    Builder,
)

SIZE = 24
SMALL = {
    "5j0n": dataclasses.replace(SOURCES["5j0n"], grid_px=SIZE),
    "5a1a": dataclasses.replace(SOURCES["5a1a"], grid_px=2 * SIZE),
}
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "targets"


def small_config(structure: str, **settings) -> ProjectionsConfig:
    return ProjectionsConfig(
        name=f"{structure}_small", source=SMALL[structure], size=SIZE, count=12, **settings
    )


def test_the_dummy_data_are_what_their_script_makes(tmp_path):
    write_dummy_data(tmp_path)
    for path in tmp_path.iterdir():
        stored, made = (FOLDER / path.name).read_bytes(), path.read_bytes()
        # An MRC header carries the time at which it was written.
        start = 1024 if path.suffix == ".mrc" else 0
        assert stored[start:] == made[start:]


class LocalFiles:
    """Stands in for tfds' download manager: the files are there already."""

    download_dir = Path("downloads")

    def __init__(self, path):
        self.path = path

    def download(self, url):
        return self.path


def build(folder, config, path):
    builder = Builder(data_dir=folder, config=config)
    builder._data_dir = str(folder)
    generators = builder._split_generators(LocalFiles(path))
    return {split: {key: example for key, example in generators[split]} for split in SPLITS}


def open_metadata(folder):
    return json.loads((folder / "cryotwin.json").read_text())


def test_the_atoms_of_a_model_and_what_was_left_out_are_in_the_metadata(tmp_path):
    build(tmp_path, small_config("5a1a"), FOLDER / "5a1a.cif.gz")
    (structure,) = open_metadata(tmp_path)["structures"]
    assert structure["atoms"] == 24
    assert structure["cluster"] == "5a1a"
    assert structure["report"] == read_structure(str(FOLDER / "5a1a.cif.gz")).report


def test_the_examples_are_those_of_cryotwin_generate_bit_for_bit(tmp_path):
    from cryotwin.pipelines.command_line import main

    perturbation = Perturbation(noise_variance=0.5, max_shift_px=1.5)
    config = small_config("5j0n", perturbation=perturbation, seed=4, orientations="euler-half")
    made = build(tmp_path / "tfds", config, FOLDER / "5j0n.mrc")
    folder = tmp_path / "generated"
    pixel_size = SMALL["5j0n"].pixel_size_angstrom(SIZE)
    words = ["generate", str(FOLDER / "5j0n.mrc"), "--out", str(folder), "--count", "12"]
    words += ["--size", str(SIZE), "--pixel-size", repr(pixel_size), "--seed", "4"]
    words += ["--orientations", "euler-half", "--noise-variance", "0.5", "--max-shift", "1.5"]
    assert main(words) == 0
    for split in SPLITS:
        generated = load_split(folder, split)
        assert sorted(generated["key"]) == sorted(made[split])
        for row, key in enumerate(generated["key"]):
            example = made[split][key]
            for field in ("image", "quaternion", "shift_angstrom", "noise_variance"):
                np.testing.assert_array_equal(generated[field][row], example[field])
            assert generated["structure"][row] == example["structure"]
    ours, theirs = open_metadata(tmp_path / "tfds"), open_metadata(folder)
    for metadata in (ours, theirs):  # Each tells in its own words where it came from.
        del metadata["command"], metadata["structures"][0]["source"]
    assert ours == theirs
    volumes = (tmp_path / place / "volumes/5j0n.mrc" for place in ("tfds", "generated"))
    first, second = (path.read_bytes()[1024:] for path in volumes)
    assert first == second


def test_noise_and_shifts_are_stored_in_all_splits_but_train(tmp_path):
    perturbation = Perturbation(noise_variance=2.0, max_shift_px=2.0)
    config = small_config("5j0n", perturbation=perturbation)
    made = build(tmp_path, config, FOLDER / "5j0n.mrc")
    for split in SPLITS:
        for example in made[split].values():
            assert example["noise_variance"] == (0 if split == "train" else 2)
            assert np.any(example["shift_angstrom"]) == (split != "train")


def test_what_tfds_builds_is_a_dataset_folder_with_its_true_map(tmp_path):
    builder = Builder(data_dir=tmp_path, config=small_config("5j0n"))
    manual = tmp_path / "manual"
    manual.mkdir()
    (manual / "5j0n.mrc").write_bytes((FOLDER / "5j0n.mrc").read_bytes())
    config = tfds.download.DownloadConfig(manual_dir=manual)
    info = tfds.core.download.checksums.compute_url_info(manual / "5j0n.mrc")
    original = Builder.url_infos
    Builder.url_infos = {SOURCES["5j0n"].url: info}
    try:
        builder.download_and_prepare(download_config=config)
    finally:
        Builder.url_infos = original
    folder = open_folder(builder.data_dir)
    assert folder.split_sizes == split_sizes(12)
    assert folder.metadata["pixel_size_angstrom"] == 3.67
    assert folder.volume_path().is_file()
    assert builder.info.metadata["orientations"] == "so3"
    # A file that is another than checksums.tsv says is refused, not used.
    with pytest.raises(InputError, match=r"5j0n\.mrc .*checksum"):
        Builder(data_dir=tmp_path / "other", config=small_config("5j0n")).download_and_prepare(
            download_config=config
        )


def test_a_file_that_cannot_be_had_is_asked_for_in_one_line(tmp_path):
    from cryotwin.datasets.cryotwin_projections.cryotwin_projections_dataset_builder import fetch

    class Empty(BaseHTTPRequestHandler):
        """A server that has no file."""

        def do_GET(self):
            self.send_error(404)

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Empty) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/5j0n.mrc"
        manager = tfds.download.DownloadManager(download_dir=tmp_path)
        with pytest.raises(InputError, match=f"save {url} as .*manual/5j0n\\.mrc") as refused:
            fetch(dataclasses.replace(SOURCES["5j0n"], url=url), manager)
        server.shutdown()
    assert "404" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_configurations_are_the_papers_experiments():
    names = [config.name for config in CONFIGS]
    assert len(set(names)) == len(names)
    for structure in ("5j0n", "5a1a"):
        for suffix in ("", "_snr-12db", "_shifts", "_euler", "_euler-half", "_so3-quarter"):
            assert structure + suffix in names
    noisy = next(config for config in CONFIGS if config.name == "5j0n_snr-12db")
    assert 10 * np.log10(1 / noisy.perturbation.noise_variance) == pytest.approx(-12, abs=0.05)
    for config in CONFIGS:
        assert config.settings()["size"] == 116
        assert split_sizes(config.count) == {"train": 2512, "validation": 838, "test": 1650}
        tfds.builder(f"cryotwin_projections/{config.name}", data_dir="unused")


def test_checksums_are_known_for_every_structure():
    known = Builder.url_infos
    assert set(known) == {source.url for source in SOURCES.values()}
    for source in SOURCES.values():
        assert known[source.url].filename == source.file


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_the_real_structures_are_the_ones_of_the_checksums_and_fit(name):
    path = SHARED / SOURCES[name].file
    if not path.exists():
        pytest.skip("no shared data here")
    info = tfds.core.download.checksums.compute_url_info(path)
    assert info == Builder.url_infos[SOURCES[name].url]
    if name == "5j0n":
        made = source_volume(SOURCES[name], read_source(SOURCES[name], path), 116)
        assert made.volume.shape == (116, 116, 116)
        assert made.pixel_size_angstrom == 3.67


@pytest.mark.parametrize(
    "imports",
    [
        "import cryotwin.datasets; import tensorflow_datasets as tfds",
        "import tensorflow_datasets as tfds; import cryotwin.datasets",
        "from cryotwin.datasets import folder; import tensorflow_datasets.core; "
        "import tensorflow_datasets as tfds",
    ],
)
def test_either_import_may_come_first(imports, tmp_path):
    code = f"{imports}\nprint(tfds.builder('cryotwin_projections/5j0n', data_dir='x').name)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip().endswith("cryotwin_projections"), done.stderr


def test_importing_the_datasets_imports_neither_tfds_nor_tensorflow():
    code = (
        "import cryotwin.datasets, sys\n"
        "print(sorted({'tensorflow', 'tensorflow_datasets', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_module_that_waits_for_tfds_leaves_its_loader_as_it_is():
    assert cryotwin.datasets is not None
    from importlib.machinery import SourceFileLoader

    assert isinstance(tfds.__spec__.loader, SourceFileLoader)
    assert tfds.__loader__ is tfds.__spec__.loader


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["cryotwin_projections/5j0n", "--imports", "cryotwin.datasets"],
        [str(Path(Builder.pkg_dir_path)), "--config", "5j0n"],
    ],
    ids=["name", "folder"],
)
def test_the_command_of_tfds_builds_it(words, tmp_path):
    pytest.importorskip("mlcroissant", reason="the command of tfds imports it")
    if not (SHARED / "5j0n.mrc").exists():
        pytest.skip("no shared data here")
    places = ["--data_dir", str(tmp_path), "--manual_dir", str(SHARED)]
    code = "from tensorflow_datasets.scripts.cli.main import launch_cli; launch_cli()"
    done = subprocess.run(
        [sys.executable, "-c", code, "build", *words, *places, "--max_examples_per_split", "3"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    built = tmp_path / "cryotwin_projections" / "5j0n" / "1.0.0"
    assert (built / "features.json").is_file(), done.stderr
    assert open_folder(built).split_sizes == dict.fromkeys(SPLITS, 3)
