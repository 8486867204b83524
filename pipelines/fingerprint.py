"""What the files of a run depend on: a run that was killed goes on where all of it is the same."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cryotwin.pipelines.generate_settings import GenerateSettings
from cryotwin.pipelines.structure_lists import StructureEntry
from cryotwin.pipelines.subjects import Grid

_VERSIONS_OF = ("astra-toolbox", "cryotwin", "finufft", "numba", "numpy", "scipy")


def run_fingerprint(
    entries: Sequence[StructureEntry], grid: Grid, settings: GenerateSettings
) -> dict[str, Any]:
    """Collects everything that the bytes of the files depend on, the structure files among it."""
    return {
        "settings": asdict(settings),
        "grid": asdict(grid),
        "structures": [asdict(entry) | {"sha256": file_digest(entry.spec)} for entry in entries],
        "versions": package_versions(_VERSIONS_OF),
    }


def package_versions(names: Sequence[str]) -> dict[str, str | None]:
    """Gives the versions of packages; None where one is not installed."""
    return {name: _version(name) for name in names}


def _version(package: str) -> str | None:
    """Gives the version of a package; None where it is not installed, as ASTRA on a Mac."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def file_digest(spec: str) -> str | None:
    """Gives the digest of a file; None for what is no file that can be read."""
    try:
        with open(spec, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return None
