"""Files from the wwPDB's archive (PDB entries and EMDB maps), kept in a cache folder."""

import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.file_content import decompress

ARCHIVE = "https://files.wwpdb.org/pub"
TIMEOUT_SECONDS = 20.0


def cache_folder() -> Path:
    """Gives $XDG_CACHE_HOME/cryotwin, or ~/.cache/cryotwin."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "cryotwin"


def fetch_pdb_entry(identifier: str) -> Path:
    """Gives the mmCIF file (.cif.gz) of a PDB id such as "7cfn", downloaded once.

    Raises:
        InputError: there is no such entry, or the archive cannot be reached.
    """
    code = identifier.lower()
    url = f"{ARCHIVE}/pdb/data/structures/divided/mmCIF/{code[1:3]}/{code}.cif.gz"
    return _fetch(url, f"PDB entry {code.upper()}", "a .cif or .pdb file")


def fetch_emdb_map(number: str) -> Path:
    """Gives the map (.map.gz) of an EMDB entry, by the digits of "EMD-1234", downloaded once.

    Raises:
        InputError: there is no such entry, or the archive cannot be reached.
    """
    url = f"{ARCHIVE}/emdb/structures/EMD-{number}/map/emd_{number}.map.gz"
    return _fetch(url, f"EMDB entry EMD-{number}", "a .mrc or .map file")


def _fetch(url: str, what: str, instead: str) -> Path:
    """Downloads `url` into the cache, unless it is there; only a whole file is kept."""
    path = cache_folder() / url.rsplit("/", 1)[1]
    if path.exists():
        return path
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
            content: bytes = response.read()
    except urllib.error.HTTPError as error:
        reason = "is not in the archive" if error.code == 404 else f"was refused ({error})"
        raise InputError(f"{what} {reason}: {url}") from None
    except (OSError, http.client.HTTPException) as error:
        cause = getattr(error, "reason", None) or error
        raise InputError(
            f"{what} could not be downloaded ({cause}): connect to the internet, or save {url} "
            f"as {path}, or give {instead} instead"
        ) from None
    decompress(content, url)
    with atomic_output(path) as temporary:
        temporary.write_bytes(content)
    return path
