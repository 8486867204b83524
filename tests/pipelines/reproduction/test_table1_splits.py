from matplotlib.figure import Figure

from cryotwin.pipelines.reproduction import table1_splits
from cryotwin.pipelines.reproduction.run import jsonable
from cryotwin.pipelines.reproduction.scale import find_scale
from cryotwin.pipelines.reproduction.table1_splits import split_numbers
from cryotwin.pipelines.reproduction.target import Target
from cryotwin.pipelines.reproduction.workspace import Workspace


def test_the_split_of_5000_is_that_of_the_paper(tmp_path):
    target = Target.of("7cfn")
    workspace = Workspace(tmp_path, find_scale("quick"), asymmetric=target, symmetric=target)
    result = table1_splits.run(workspace, table1_splits.settings(workspace))
    assert [trend.holds for trend in result.trends] == [True, True]
    assert len(result.tables) == 2
    figure = Figure(layout="constrained")
    table1_splits.draw(figure, jsonable(result.curves))
    assert len(figure.get_axes()) == 2


def test_another_split_is_told():
    sizes = {"train": 2500, "validation": 838, "test": 1650}
    splits = {name: split_numbers(size, 64, sampled=True) for name, size in sizes.items()}
    assert [trend.holds for trend in table1_splits.trends(splits)] == [False, False]


def test_pairs_of_batches_are_those_of_whole_batches_and_the_rest():
    numbers = split_numbers(7, 3, sampled=False)
    assert numbers["own_pairs"] == 3 + 3 + 0
    assert numbers["pairs"] == 49
    assert numbers["steps"] is None
