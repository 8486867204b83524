"""The experiments beyond the paper from end to end, far too small to show anything."""

import json

import numpy as np
import pytest

from cryotwin.imaging.maps import write_map
from cryotwin.pipelines.reproduction.experiments import EXPERIMENTS
from cryotwin.pipelines.reproduction.run import run_experiments
from cryotwin.pipelines.reproduction.scale import Scale
from cryotwin.pipelines.reproduction.target import Target
from cryotwin.pipelines.reproduction.workspace import Workspace

_TINY = Scale("quick", 16, 160, paper_epochs=1, paper_steps=2, own_epochs=1, own_batch=16)


def blobs(path, seed, turns):
    """Writes a map of blobs, and of what each turn of the object makes of them."""
    z, y, x = np.mgrid[:24, :24, :24] - 12
    centres = np.random.default_rng(seed).uniform(-6, 6, (6, 3))
    density = sum(
        np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 4)
        for turn in turns
        for a, b, c in centres * turn
    )
    write_map(path, density, 3.0)
    return str(path)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A map without symmetry, one of D2, and a folder of proteins."""
    folder = tmp_path_factory.mktemp("inputs")
    for part in ("train", "held_out"):
        (folder / "proteins" / part).mkdir(parents=True)
    for number, part in enumerate(("train", "train", "held_out")):
        blobs(folder / "proteins" / part / f"{part}{number}.mrc", 10 + number, [(1, 1, 1)])
    d2 = [(1, 1, 1), (-1, -1, 1), (-1, 1, -1), (1, -1, -1)]
    return {
        "asymmetric": Target.of(blobs(folder / "plain.mrc", 0, [(1, 1, 1)])),
        "symmetric": Target.of(blobs(folder / "fourfold.mrc", 1, d2), "D2"),
        "proteins": folder / "proteins",
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["psf", "symmetry", "gauge", "preferred-views", "unseen-proteins"])
def test_an_experiment_leaves_a_table_trends_and_a_figure(name, inputs, tmp_path):
    workspace = Workspace(tmp_path / ".work", _TINY, say=str, **inputs)
    run_experiments(tmp_path, [EXPERIMENTS[name]], workspace, say=str)
    path = tmp_path / f"{name}.json"
    result = json.loads(path.read_text())["result"]
    assert path.stat().st_size < 100_000
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    assert result["trends"]
    for table in result["tables"]:
        assert all(len(row) == len(table["header"]) for row in table["rows"])
