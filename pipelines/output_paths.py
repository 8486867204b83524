"""Where a command may write: a path on a file system, told before any work is done."""

import argparse
import re
from pathlib import Path

from cryotwin.imaging.errors import InputError


def output_path(text: str) -> Path:
    """Reads the argument --out; an empty one would mean the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("a path was expected, not ''")
    return Path(text)


def check_place(out: Path) -> None:
    """Raises InputError when `out` is on no file system, or below a file."""
    if address := re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", str(out)):
        scheme, rest = address.groups()  # pathlib has made one slash of two.
        raise InputError(
            f"--out must be on a file system that all workers see, not '{scheme}://{rest}': "
            f"{scheme}:// is not supported (mount it, or copy the finished files there)"
        )
    for place in out.parents:
        if place.exists():
            if not place.is_dir():
                raise InputError(f"--out {out}: {place} is a file, a folder was expected")
            return
