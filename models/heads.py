"""Distance heads: from the features of two images to the distance between their orientations.

- "so3" (default): exact. Without symmetry the features' inner product stands for
  s = tr(Ri^T Rj) / 3, a positive semi-definite kernel that 9 features realise, and
  d = arccos((3 s - 1) / 2). For a point group see `cryotwin.models.symmetric_heads`.
- "cosine": the paper's (its Appendix D), d = 2 arccos <f, g>. |<qi, qj>| is not positive
  semi-definite on SO(3), so no network can make this head exact; it is here to be compared with.
- "euclidean": the paper's Appendix D, d = |f - g|; not bounded by pi.

The last two have one formula for all symmetries: only what they are trained for differs.
"""

import re

import keras

from cryotwin.imaging.errors import InputError
from cryotwin.imaging.point_groups import parse_point_group
from cryotwin.models.plain_heads import CosineHead, EuclideanHead, Head, So3Head
from cryotwin.models.symmetric_heads import symmetric_so3_head

HEADS = ("so3", "cosine", "euclidean")

_LAYER_NAME = re.compile(f"({'|'.join(HEADS)})(?:_([A-Z][0-9]*))?_head")


def find_head(name: str, symmetry: str = "C1") -> Head:
    """Gives a head by its name and the point group of the particle.

    Raises:
        InputError: no such head or group.
    """
    if name not in HEADS:
        raise InputError(f"head must be one of {', '.join(HEADS)}, not {name!r}")
    group = parse_point_group(symmetry)
    if name == "cosine":
        return CosineHead(group)
    if name == "euclidean":
        return EuclideanHead(group)
    return So3Head() if group == "C1" else symmetric_so3_head(group)


def head_of_layers(names: list[str]) -> Head | None:
    """Finds the head among the names of a model's layers; None unless there is exactly one."""
    matches = [match for name in names if (match := _LAYER_NAME.fullmatch(name))]
    if len(matches) != 1:
        return None
    name, symmetry = matches[0].groups(default="C1")
    return find_head(name, symmetry)


def head_model(head: Head, feature_dim: int) -> keras.Model:
    """Builds a head as a functional model: two (B, D) features in, (B, 1) rad out."""
    first = keras.Input((feature_dim,), name="first_features")
    second = keras.Input((feature_dim,), name="second_features")
    return keras.Model([first, second], head.distances_of_rows(first, second), name=head.layer_name)
