"""Files that appear whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_output(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` that takes its place on success.

    On an error, a full disk or Ctrl-C the temporary file is removed and `path` stays as it was.
    The temporary name starts with a dot and keeps the suffixes of `path`, for writers that
    choose a format by them. An OSError that names no file, as one of a full disk, or the temporary
    one, leaves with the name of `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _naming(path):
        handle, name = tempfile.mkstemp(prefix=".partial-", suffix="-" + path.name, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with _naming(path):
            yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def output_folder(path: str | Path) -> Iterator[Path]:
    """Makes a folder, and on an error removes what it made of `path`, as far as it is empty."""
    path = Path(path)
    made = [place for place in (path, *path.parents) if not place.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        yield path
    except BaseException:
        for place in made:
            with suppress(OSError):  # Not empty, or never made.
                place.rmdir()
        raise


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Puts `path` in the place of no name or a temporary one in an OSError."""
    try:
        yield
    except OSError as error:
        if error.filename is None or Path(os.fsdecode(error.filename)).name.startswith(".partial-"):
            error.filename = str(path)
        raise
