"""A particle by its name: bundled, in a file, or in the PDB and EMDB archives."""

import re
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path

from cryotwin.imaging.archives import fetch_emdb_map, fetch_pdb_entry
from cryotwin.imaging.assemblies import AssemblyPart, build_assembly, describe_assembly
from cryotwin.imaging.atoms import Atoms, AtomTable, select_atoms
from cryotwin.imaging.errors import InputError
from cryotwin.imaging.file_content import decompress, read_content, stem, suffix
from cryotwin.imaging.maps import MAP_SUFFIXES, DensityMap, read_map
from cryotwin.imaging.mmcif_files import parse_mmcif
from cryotwin.imaging.pdb_files import parse_pdb

__all__ = ["Atoms", "DensityMap", "bundled_names", "read_structure"]

Parser = Callable[[bytes, str], tuple[AtomTable, str, list[AssemblyPart]]]

PARSERS: Mapping[str, Parser] = {
    ".cif": parse_mmcif,
    ".mmcif": parse_mmcif,
    ".pdb": parse_pdb,
    ".ent": parse_pdb,
}
SUFFIXES = (*PARSERS, *MAP_SUFFIXES)


def read_structure(spec: str) -> Atoms | DensityMap:
    """Reads a structure given as the command line's STRUCTURE.

    Args:
        spec: in this order of precedence, a bundled name ("7cfn"), the path of a file that
            exists (.cif, .mmcif, .pdb, .ent, .mrc, .map, each also .gz), a PDB id, or an EMDB
            id ("EMD-1234"). Names and ids may be in capitals or not.

    Returns:
        `Atoms` (heavy atoms, first model and conformation, no water, biological assembly 1
        where the file gives one) or a `DensityMap`.

    Raises:
        InputError: nothing of that name, or a file that cannot be used.
    """
    if spec.lower() in bundled_names():
        name = spec.lower()
        packed = resources.files("cryotwin.imaging") / "bundled" / f"{name}.cif.gz"
        content = decompress(packed.read_bytes(), f"bundled {name}")
        return _read_atoms(content, parse_mmcif, name, f"bundled {name}")
    if spec and Path(spec).exists():
        return _read_file(Path(spec))
    if re.fullmatch(r"[1-9][0-9A-Za-z]{3}", spec):
        path = fetch_pdb_entry(spec)
        return _read_atoms(read_content(path), parse_mmcif, spec.lower(), f"PDB {spec.upper()}")
    if number := re.fullmatch(r"EMD-(\d{4,5})", spec, flags=re.IGNORECASE):
        path = fetch_emdb_map(number[1])
        return read_map(path, name=spec.lower(), source=spec.upper())
    problem = "no such file" if suffix(spec) in SUFFIXES else "unknown structure"
    raise InputError(f"{problem}: '{spec}'; {_expected()}")


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
    if path.is_dir() or kind not in SUFFIXES:
        problem = "is a folder" if path.is_dir() else f"has the suffix '{kind}'"
        raise InputError(f"structure '{path}' {problem}; {_expected()}")
    if kind in MAP_SUFFIXES:
        return read_map(path)
    return _read_atoms(read_content(path), PARSERS[kind], stem(path), str(path))


def _read_atoms(content: bytes, parse: Parser, name: str, source: str) -> Atoms:
    table, identifier, parts = parse(content, source)
    rows, numbers = select_atoms(table, source)
    positions, assembly = table.positions_angstrom[rows], "asymmetric unit"
    if parts:
        chains = [table.chains[row] for row in rows]
        built = build_assembly(positions, numbers, chains, parts)
        if built is None:
            assembly = f"asymmetric unit (assembly {identifier} names none of the file's chains)"
        else:
            positions, numbers = built
            assembly = describe_assembly(parts, identifier)
    return Atoms(positions, numbers, name, source, assembly)
