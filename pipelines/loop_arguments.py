"""The arguments of `cryotwin train` that say how its loop runs, not what it trains for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryotwin.models.training_settings import TrainingSettings

DEFAULT_CURRICULUM = 0.0


def add_loop_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds them to a parser."""
    parser.add_argument(
        "--curriculum",
        type=float,
        default=DEFAULT_CURRICULUM,
        metavar="SHARE",
        help="share of the training over which the noise rises to all of it, 0 to 1 "
        "(default: %(default)s, all of it from the start)",
    )
    parser.add_argument(
        "--auxiliary-weight",
        type=float,
        default=0.0,
        metavar="W",
        help="train read-outs of the direction and the in-plane angle along, with this weight in "
        "the loss; they are not in the estimator (default: %(default)s, none)",
    )
    parser.add_argument(
        "--patience",
        type=int,
        metavar="N",
        help="stop after N epochs without a lower validation error, once a curriculum is over, and "
        "keep the best weights (default: train to the end)",
    )
    parser.add_argument(
        "--devices",
        type=int,
        default=1,
        metavar="N",
        help="accelerators, or processors, that share each batch (default: %(default)s)",
    )
    parser.add_argument(
        "--precision",
        default="float32",
        metavar="P",
        help="of the network's arithmetic: float32, mixed_bfloat16 or mixed_float16 "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--tensorboard",
        metavar="DIR",
        help="write losses, learning rate, validation error and pictures of estimated against "
        "true distances for TensorBoard",
    )


def loop_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Gives the fields of TrainingSettings that the arguments set."""
    names = ("curriculum", "auxiliary_weight", "patience", "devices", "precision")
    return {name: getattr(args, name) for name in names}


def loop_command(settings: TrainingSettings) -> str:
    """Writes the arguments that give these settings."""
    words = [f"--curriculum {settings.curriculum:g}", f"--precision {settings.precision}"]
    if settings.auxiliary_weight:
        words.append(f"--auxiliary-weight {settings.auxiliary_weight:g}")
    if settings.patience is not None:
        words.append(f"--patience {settings.patience}")
    if settings.devices != 1:
        words.append(f"--devices {settings.devices}")
    return " ".join(words)
