"""Unseen proteins: which are trained on, whether trends are told right, and a small run."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from cryotwin.imaging.maps import write_map
from cryotwin.pipelines.reproduction.protein_training import ProteinTraining, train_on_proteins
from cryotwin.pipelines.reproduction.protein_views import (
    in_random_order,
    load_proteins,
    make_protein_views,
    protein_views,
)
from cryotwin.pipelines.reproduction.result import OURS, PAPER
from cryotwin.pipelines.reproduction.run import jsonable
from cryotwin.pipelines.reproduction.scale import find_scale
from cryotwin.pipelines.reproduction.target import Target
from cryotwin.pipelines.reproduction.unseen_proteins import draw, trends
from cryotwin.pipelines.reproduction.workspace import Workspace


def column(correlation, error):
    protein = {
        "distance_loss": 0.7,
        "correlation": correlation,
        "o4_error": error,
        "physical_error": 1.5,
        "chance_loss": 0.8,
        "chance_o4_error": 1.2,
    }
    seen = [protein | {"distance_loss": 0.1}]
    return {"unseen": [protein | {"name": "a"}, protein | {"name": "b"}], "seen": seen}


def cases(few, many, error):
    return [
        {"proteins": 1, PAPER: column(few, 1.2), OURS: column(few, 1.2)},
        {"proteins": 8, PAPER: column(few, 1.2), OURS: column(many, error)},
    ]


@pytest.fixture
def workspace(tmp_path):
    target = Target.of("7cfn")
    return Workspace(
        tmp_path / "work", find_scale("quick"), asymmetric=target, symmetric=target, say=str
    )


@pytest.fixture
def blob_files(tmp_path):
    """Two maps of a few blobs each."""
    z, y, x = np.mgrid[:24, :24, :24] - 12
    for number, name in enumerate("ab"):
        centres = np.random.default_rng(number).uniform(-5, 5, (5, 3))
        density = sum(
            np.exp(-((x - i) ** 2 + (y - j) ** 2 + (z - k) ** 2) / 4) for i, j, k in centres
        )
        write_map(tmp_path / f"{name}.mrc", density, 3.0)
    return [tmp_path / "a.mrc", tmp_path / "b.mrc"]


def test_few_proteins_are_among_the_many_and_in_no_order_of_their_names():
    files = [Path(f"{number:03}.npz") for number in range(50)]
    shuffled = in_random_order(files)
    assert shuffled == in_random_order(files)
    assert sorted(shuffled) == files
    assert shuffled != files


@pytest.mark.parametrize(
    ("many", "error", "holds"),
    [(0.4, 0.3, [False, True, True]), (0.12, 1.1, [False, False, False])],
)
def test_trends_hold_where_the_numbers_say_so(many, error, holds):
    assert [trend.holds for trend in trends(cases(0.1, many, error))] == holds


def test_the_figure_is_drawn_from_json():
    figure = Figure()
    draw(figure, jsonable({"cases": cases(0.1, 0.4, 1.0)}))
    (correlations,) = [axes for axes in figure.axes if "correlation" in axes.get_ylabel()]
    labels = [line.get_label() for line in correlations.get_lines()]
    assert f"{OURS}, unseen" in labels
    assert "chance" in labels


def test_another_file_is_another_dataset(blob_files):
    settings = protein_views(blob_files, box_px=16, count=12)
    assert settings == protein_views(blob_files, box_px=16, count=12)
    assert settings != protein_views(blob_files[::-1], box_px=16, count=12)
    blob_files[0].write_bytes(blob_files[1].read_bytes())
    assert settings != protein_views(blob_files, box_px=16, count=12)


def test_an_estimator_is_trained_on_all_proteins_and_kept(workspace, blob_files):
    views = protein_views(blob_files, box_px=16, count=24)
    proteins = load_proteins(make_protein_views(workspace, blob_files, views), "test")
    assert [protein.name for protein in proteins] == ["a", "b"]
    assert [len(protein.views.images) for protein in proteins] == [8, 8]
    training = ProteinTraining(views, "resnet_small", "so3", steps=10, batch_size=8)
    first = train_on_proteins(workspace, blob_files, training)
    assert len(first.curve) == 10
    assert train_on_proteins(workspace, blob_files, training) == first
    distance = first.load()([proteins[0].views.images[:2, ..., None]] * 2)
    assert np.allclose(distance, 0, atol=1e-3)
