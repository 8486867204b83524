"""Where a reproduction works: what was done is kept, in a folder for each step, and not done again.

A step is a function of settings. Its folder is named by them; record.json is written last and says
that it is done. So a killed run goes on, and experiments share what they have in common.
"""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cryotwin.pipelines.reproduction.scale import Scale
from cryotwin.pipelines.reproduction.target import Target
from cryotwin.pipelines.staging import write_json

Record = dict[str, Any]

_RECORD = "record.json"


class Workspace:
    """The folder of a reproduction, and what all its experiments are made with.

    Attributes:
        scale: the size.
        asymmetric: the particle without symmetry (the paper's 5j0n).
        symmetric: the particle with (the paper's 5a1a).
        proteins: folder with train/ and held_out/ structures, for unseen proteins; or None.
        threads: to use.
        seconds: spent on the steps that were asked for since it was set to 0, those that were
            found done included.
    """

    def __init__(
        self,
        folder: Path,
        scale: Scale,
        *,
        asymmetric: Target,
        symmetric: Target,
        proteins: Path | None = None,
        threads: int = 2,
        say: Callable[[str], None] = print,
    ) -> None:
        self._folder = folder
        self.scale = scale
        self.asymmetric = asymmetric
        self.symmetric = symmetric
        self.proteins = proteins
        self.threads = threads
        self.say = say
        self.seconds = 0.0
        self._depth = 0

    def step(self, name: str, settings: Any, work: Callable[[Path], Record]) -> tuple[Record, Path]:
        """Gives what `work` gave for these settings, and its folder; does it if it is not there.

        Args:
            name: of the step, in file names and progress.
            settings: a dataclass, everything that the record depends on.
            work: makes the JSON-able record; it may leave files in the folder that it is given,
                and finds there what it left when it was stopped.

        Returns:
            The record, with `seconds` that the work took in the process that finished it, unless
            the work tells its own.
        """
        folder = self._folder / f"{name}-{self._digest(settings)}"
        record_file = folder / _RECORD
        if not record_file.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            self.say(f"  {name}: begins")
            began = time.monotonic()
            self._depth += 1
            try:
                made = {"seconds": None, **work(folder)}
            finally:
                self._depth -= 1
            seconds = time.monotonic() - began
            if made["seconds"] is None:
                made["seconds"] = seconds
            write_json(record_file, made)
            self.say(f"  {name}: done in {seconds:.0f} s")
        record = json.loads(record_file.read_text(encoding="utf-8"))
        if self._depth == 0:  # The time of a step holds that of the steps in it.
            self.seconds += record["seconds"]
        return record, folder

    @staticmethod
    def _digest(settings: Any) -> str:
        content = {"settings": identity(settings), "cryotwin": version("cryotwin")}
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def identity(settings: Any) -> Any:
    """Gives what a dataclass of settings says, JSON-able, its targets by their identity."""
    if isinstance(settings, Target):
        return settings.identity
    if is_dataclass(settings) and not isinstance(settings, type):
        return {each.name: identity(getattr(settings, each.name)) for each in fields(settings)}
    if isinstance(settings, list | tuple):
        return [identity(each) for each in settings]
    return settings
