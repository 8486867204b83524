"""The point groups that estimators and recovery can work with."""

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.point_groups import parse_point_group


def check_supported_symmetry(symmetry: str, what: str = "symmetry") -> None:
    """Raises InputError unless distances under the point group can be learnt and embedded.

    C1 alone so far.

    Args:
        symmetry: a name that `cryotwin.imaging.point_groups` knows.
        what: whose symmetry it is, for the message.
    """
    if parse_point_group(symmetry) != "C1":
        raise InputError(
            f"{what} must be 'C1' (other point groups cannot be learnt or recovered yet), "
            f"not {symmetry!r}"
        )
