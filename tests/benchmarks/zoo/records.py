"""Results that are kept, each in a JSON file with what it belongs to: none is made twice."""

import hashlib
import json
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from cryotwin.pipelines.reproduction.machine import machine
from cryotwin.pipelines.staging import write_json
from zoo.claims import claimed

Record = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A piece of work: a function of (cache, settings) that gives a JSON-able record.

    Attributes:
        name: what the files and the progress call it.
        work: a function of a module, so that another process can call it.
        settings: a frozen dataclass: all that the result depends on.
    """

    name: str
    work: Callable[[Path, Any], Record]
    settings: Any

    def path(self, cache: Path) -> Path:
        """Gives the file of the record: its name tells the settings from any others."""
        return cache / "records" / f"{settings_name(self.name, self.settings)}.json"


def settings_name(name: str, settings: Any) -> str:
    """Gives a file name that belongs to these settings alone."""
    text = json.dumps(asdict(settings), sort_keys=True)
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def run_tasks(cache: Path, tasks: list[Task], *, jobs: int = 1) -> list[Record]:
    """Does what has no record yet, `jobs` at a time, and gives the records in the tasks' order.

    What another process is at is left to it and waited for at the end.
    """
    open_tasks = [task for task in tasks if not task.path(cache).is_file()]
    print(f"{len(tasks) - len(open_tasks)} of {len(tasks)} are done already", flush=True)
    if jobs == 1:
        for task in open_tasks:
            _do(cache, task, wait=False)
    elif open_tasks:
        # A fresh interpreter each: TensorFlow does not survive a fork.
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            for done in as_completed([pool.submit(_do, cache, task, False) for task in open_tasks]):
                done.result()
    for task in tasks:
        _do(cache, task, wait=True)
    return [json.loads(task.path(cache).read_text()) for task in tasks]


def _do(cache: Path, task: Task, wait: bool) -> None:
    path = task.path(cache)
    with claimed(path.with_suffix(".lock"), wait=wait) as mine:
        if not mine or path.is_file():
            return
        began = time.monotonic()
        print(f"{task.name}: begins", flush=True)
        record = task.work(cache, task.settings)
        record |= {"settings": asdict(task.settings), "machine": machine()}
        record |= {"date": time.strftime("%Y-%m-%d")}
        write_json(path, record)
        print(f"{task.name}: done in {time.monotonic() - began:.0f} s", flush=True)
