"""Point groups of particles, by RELION's names."""

from cryotwin.imaging.errors import InputError


def check_symmetry(symmetry: str) -> None:
    """Raises InputError unless `symmetry` is a point group that is supported: "C1" so far."""
    if symmetry != "C1":
        raise InputError(
            f"symmetry must be 'C1' (other point groups are not supported yet), not {symmetry!r}"
        )
