"""Runs experiments one after the other; what is finished stays, and is not done again."""

import json
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.errors import InputError
from cryotwin.pipelines.reproduction.experiments import EXPERIMENTS, Experiment, ExperimentModule
from cryotwin.pipelines.reproduction.machine import machine
from cryotwin.pipelines.reproduction.page import Entry, write_page
from cryotwin.pipelines.reproduction.result import Result
from cryotwin.pipelines.reproduction.views import PROJECTIONS_SEED
from cryotwin.pipelines.reproduction.workspace import Workspace, identity
from cryotwin.pipelines.staging import write_json

WORK = ".work"
"""Folder of the steps within the output."""

_SIZE_FILE = "reproduction.json"
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
}
_FIGURE_INCHES = (9, 3.6)
_DPI = 110


def run_experiments(
    out: Path,
    experiments: Sequence[Experiment],
    workspace: Workspace,
    *,
    flags: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> None:
    """Makes what is not there yet of the experiments, and the page of all that is there.

    Args:
        out: folder of the results; NAME.json and NAME.png of each, index.html and results.md.
        experiments: which.
        workspace: in the same folder.
        flags: of the command line that the results depend on, for the command under each.
        say: is told of the progress.

    Raises:
        InputError: the folder holds results of another size or particle, an input is missing, or
            experiments cannot be made of it; all others are made before it is told.
    """
    _check_size(out, workspace)
    refused = []
    for number, experiment in enumerate(experiments, start=1):
        head = f"[{number}/{len(experiments)}] {experiment.name}: {experiment.title}"
        module = experiment.load()
        settings = module.settings(workspace)
        belongs_to = {
            "settings": jsonable(identity(settings)),
            "scale": asdict(workspace.scale),
            "cryotwin": version("cryotwin"),
        }
        if _is_done(out, experiment, belongs_to):
            say(f"{head}: done already")
            continue
        say(head)
        began = time.monotonic()
        workspace.seconds = 0.0
        try:
            result = module.run(workspace, settings)
        except InputError as refusal:
            say(f"  cannot be made: {refusal}")
            refused.append(f"{experiment.name}: {refusal}")
            continue
        draw_figure(out / f"{experiment.name}.png", module, result)
        write_json(
            out / f"{experiment.name}.json",
            {
                "experiment": experiment.name,
                "title": experiment.title,
                "source": experiment.source,
                "size": workspace.scale.name,
                "reduction": workspace.scale.reduction,
                **belongs_to,
                "command": shlex.join(
                    ["cryotwin", "reproduce", experiment.name, *flags, "--out", "DIR"]
                ),
                "seeds": {"projections": PROJECTIONS_SEED, "first of all else": 0},
                "machine": machine(),
                "date": time.strftime("%Y-%m-%d"),
                "seconds": round(workspace.seconds, 1),
                "result": jsonable(result.to_json()),
            },
        )
        write_page(out, finished(out))
        say(f"  done in {time.monotonic() - began:.0f} s")
    write_page(out, finished(out))
    if refused:
        count = f"{len(refused)} of {len(experiments)} experiments cannot be made"
        raise InputError(f"{count}: {'; '.join(refused)}")


def jsonable(content: Any) -> Any:
    """Gives what a JSON file gives back: lists for tuples."""
    return json.loads(json.dumps(content))


def finished(out: Path) -> list[Entry]:
    """Reads the results that are there, in the order of the paper."""
    entries = []
    for name in EXPERIMENTS:
        path, figure = out / f"{name}.json", out / f"{name}.png"
        if path.is_file() and figure.is_file():
            content = json.loads(path.read_text(encoding="utf-8"))
            result = Result.from_json(content.pop("result"))
            entries.append(Entry(name, content, result, figure))
    return entries


def draw_figure(path: Path, module: ExperimentModule, result: Result) -> None:
    """Draws an experiment's figure into a PNG file."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_FIGURE_INCHES, layout="constrained")
        FigureCanvasAgg(figure)
        module.draw(figure, jsonable(result.curves))
        with atomic_output(path) as temporary:
            figure.savefig(temporary, format="png", dpi=_DPI, metadata={"Software": None})


def _is_done(out: Path, experiment: Experiment, belongs_to: dict[str, Any]) -> bool:
    path = out / f"{experiment.name}.json"
    if not path.is_file() or not path.with_suffix(".png").is_file():
        return False
    content = json.loads(path.read_text(encoding="utf-8"))
    return all(content.get(key) == value for key, value in belongs_to.items())


def _check_size(out: Path, workspace: Workspace) -> None:
    """Refuses a folder that holds results which belong to other inputs."""
    wanted: dict[str, Any] = {
        "size": workspace.scale.name,
        "asymmetric": workspace.asymmetric.identity,
        "symmetric": workspace.symmetric.identity,
    }
    path = out / _SIZE_FILE
    if not path.is_file():
        out.mkdir(parents=True, exist_ok=True)
        write_json(path, wanted)
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    for key, value in wanted.items():
        if found.get(key) != value:
            was, now = (
                what["name"] if isinstance(what, dict) else what for what in (found[key], value)
            )
            raise InputError(
                f"{out}: holds results of another {key}, {was} and not {now}; "
                "expected another --out"
            )
