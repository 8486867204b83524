"""The point groups that a whole run can work with, from images to orientations and a map."""

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.point_groups import parse_point_group


def check_supported_symmetry(symmetry: str, what: str = "symmetry") -> None:
    """Raises InputError unless orientations and a map can be recovered under the point group.

    C1 alone so far: gauge, refinement and reconstruction know no other. `embed_distances` and
    `align_orientations` take every group.

    Args:
        symmetry: a name that `cryotwin.imaging.point_groups` knows.
        what: whose symmetry it is, for the message.
    """
    if parse_point_group(symmetry) != "C1":
        raise InputError(
            f"{what} must be 'C1' (other point groups cannot be recovered yet), not {symmetry!r}"
        )
