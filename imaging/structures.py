"""A particle by its name: bundled, in a file, or in the PDB and EMDB archives."""

import re
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path

from cryotwin.imaging.archives import fetch_emdb_map, fetch_pdb_entry
from cryotwin.imaging.atom_tables import CoordinateFile
from cryotwin.imaging.atoms import Atoms
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.file_content import decompress, read_content, stem, suffix
from cryotwin.imaging.maps import MAP_SUFFIXES, DensityMap
from cryotwin.imaging.mmcif_files import parse_mmcif
from cryotwin.imaging.npz_files import NPZ_SUFFIX, read_npz
from cryotwin.imaging.particle_maps import read_particle_map
from cryotwin.imaging.particles import particle_of
from cryotwin.imaging.pdb_files import parse_pdb

__all__ = ["Atoms", "DensityMap", "bundled_names", "read_structure"]

Parser = Callable[[bytes, str], CoordinateFile]

PARSERS: Mapping[str, Parser] = {
    ".cif": parse_mmcif,
    ".mmcif": parse_mmcif,
    ".pdb": parse_pdb,
    ".ent": parse_pdb,
}
SUFFIXES = (*PARSERS, *MAP_SUFFIXES, NPZ_SUFFIX)

ASSEMBLY_SUFFIX = re.compile(r"\.pdb[1-9]\d?")
"""The wwPDB's files of assemblies in the PDB format, in which every model is a copy."""

PDB_ID = re.compile(r"(?:pdb_0000)?([1-9][0-9a-z]{3})", flags=re.IGNORECASE)
LATER_PDB_ID = re.compile(r"pdb_[0-9a-z]{8}", flags=re.IGNORECASE)
EMDB_ID = re.compile(r"EMD-(\d{4,6})", flags=re.IGNORECASE)


def read_structure(spec: str) -> Atoms | DensityMap:
    """Reads a structure given as the command line's STRUCTURE.

    Args:
        spec: in this order of precedence, a bundled name ("7cfn"), the path of a file that
            exists (.cif, .mmcif, .pdb, .ent, .pdb1 and so on, .mrc, .map, .npz, each but the
            last also .gz), a PDB id ("7cfn" or "pdb_00007cfn"), or an EMDB id ("EMD-1234").
            Names and ids may be in capitals or not.

    Returns:
        `Atoms` (heavy atoms, first model and conformation, no water, biological assembly 1
        where the file gives one) or a `DensityMap`, either with a `report` of what was done.

    Raises:
        InputError: nothing of that name, or a file that cannot be used.
    """
    if spec.lower() in bundled_names():
        name = spec.lower()
        packed = resources.files("cryotwin.imaging") / "bundled" / f"{name}.cif.gz"
        content = decompress(packed.read_bytes(), f"bundled {name}")
        return particle_of(parse_mmcif(content, f"bundled {name}"), name, f"bundled {name}")
    if spec and Path(spec).exists():
        return _read_file(Path(spec))
    if identifier := PDB_ID.fullmatch(spec):
        return _fetched_entry(identifier[1])
    if LATER_PDB_ID.fullmatch(spec):
        raise InputError(
            f"PDB id '{spec}' has no form of four characters, by which the archive is read: "
            "download its mmCIF file and give that instead"
        )
    if number := EMDB_ID.fullmatch(spec):
        path = fetch_emdb_map(number[1])
        return read_particle_map(path, name=spec.lower(), source=spec.upper())
    problem = "no such file" if suffix(spec) in SUFFIXES else "unknown structure"
    raise InputError(f"{problem}: '{spec}'; {_expected()}")


def _fetched_entry(identifier: str) -> Atoms:
    source = f"PDB {identifier.upper()}"
    content = read_content(fetch_pdb_entry(identifier))
    return particle_of(parse_mmcif(content, source), identifier.lower(), source)


def bundled_names() -> list[str]:
    """Lists the structures that come with the package."""
    folder = resources.files("cryotwin.imaging") / "bundled"
    return sorted(stem(f.name) for f in folder.iterdir() if f.name.endswith(".cif.gz"))


def _expected() -> str:
    return (
        f"expected a bundled name ({', '.join(bundled_names())}), a file "
        f"({', '.join(SUFFIXES)}, each also .gz), a PDB id or an EMDB id (EMD-1234)"
    )


def _read_file(path: Path) -> Atoms | DensityMap:
    kind = suffix(path)
    if path.is_dir() or (kind not in SUFFIXES and not ASSEMBLY_SUFFIX.fullmatch(kind)):
        problem = "is a folder" if path.is_dir() else f"has the suffix '{kind}'"
        raise InputError(f"structure '{path}' {problem}{_advice(path)}; {_expected()}")
    if kind in MAP_SUFFIXES:
        return read_particle_map(path)
    if kind == NPZ_SUFFIX:
        return read_npz(path)
    copies = bool(ASSEMBLY_SUFFIX.fullmatch(kind))
    parse = parse_pdb if copies else PARSERS[kind]
    return particle_of(parse(read_content(path), str(path)), stem(path), str(path), copies=copies)


def _advice(path: Path) -> str:
    """Says more about files that are often given by mistake."""
    advice = {
        ".mrcs": " (a stack of images, not a map)",
        ".bcif": " (BinaryCIF: give the mmCIF file)",
        ".mmtf": " (MMTF: give the mmCIF file)",
        ".xml": " (PDBML: give the mmCIF file)",
        ".tar": " (a bundle of PDB files: give the mmCIF file, which holds all chains)",
    }
    return advice.get(suffix(path), "")
