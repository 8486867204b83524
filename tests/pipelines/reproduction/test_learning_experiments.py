"""The experiments on learning distances, run on two made-up particles at a size of minutes."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cryotwin.imaging.maps import write_map
from cryotwin.pipelines.reproduction.experiments import find_experiments
from cryotwin.pipelines.reproduction.paper_column import paper_training
from cryotwin.pipelines.reproduction.run import run_experiments
from cryotwin.pipelines.reproduction.scale import Scale
from cryotwin.pipelines.reproduction.target import Target
from cryotwin.pipelines.reproduction.trial import try_estimator
from cryotwin.pipelines.reproduction.views import ViewSettings
from cryotwin.pipelines.reproduction.workspace import Workspace

TINY = Scale("quick", 16, 90, paper_epochs=2, paper_steps=2, own_epochs=2, own_batch=16)
NAMES = ["figure8", "figure9a", "figure9b", "figure17a", "figure17b"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reproduction")
    z, y, x = np.mgrid[:24, :24, :24] - 12
    for name, turns in (("lopsided", [(1, 1)]), ("twofold", [(1, 1), (-1, -1)])):
        density = sum(
            np.exp(-((x - 4 * a) ** 2 + (y - 3 * b) ** 2 + (z - 2) ** 2) / 6) for a, b in turns
        )
        write_map(folder / f"{name}.mrc", density, 3.0)
    return Workspace(
        folder / ".work",
        TINY,
        asymmetric=Target.of(str(folder / "lopsided.mrc")),
        symmetric=Target.of(str(folder / "twofold.mrc"), "C2"),
        say=lambda _: None,
    )


def test_euclidean_distances_are_not_clipped_before_their_loss(workspace):
    """Steps that are far too long make the features as long."""
    views = ViewSettings(workspace.asymmetric, TINY.box_px, TINY.count)
    training = paper_training(workspace, views, head="euclidean")
    wild = replace(training, pairs=replace(training.pairs, learning_rate=0.3))
    record, _ = try_estimator(workspace, wild, recovered=False)
    assert np.max(record["pairs"]) > np.pi
    assert record["distance_loss"] > np.pi**2
    assert record["training_passes"] == 2 * 2 * 256 * 2


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_gives_what_its_page_needs(workspace, tmp_path, name):
    run_experiments(tmp_path, find_experiments([name]), workspace, say=lambda _: None)
    content = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert content["result"]["tables"][0]["rows"]
    assert content["result"]["trends"]
    assert (tmp_path / f"{name}.json").stat().st_size < 100_000
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    assert "results" in (tmp_path / "index.html").read_text(encoding="utf-8").lower()
