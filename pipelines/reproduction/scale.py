"""How large the experiments are: minutes, hours, or as in the paper."""

from dataclasses import dataclass

from cryotwin.imaging.errors import InputError
from cryotwin.pipelines.reproduction.target import PAPER_BOX_PX


@dataclass(frozen=True)
class Scale:
    """What all experiments of a size share.

    Attributes:
        name: "quick", "full" or "unreduced".
        box_px: edge of the images.
        count: projections of a dataset, over its three splits (for 5,000 the paper's 2,512, 838
            and 1,650).
        paper_epochs: of a training as in the paper (its 150).
        paper_steps: in an epoch, each of 256 pairs (its 247).
        own_epochs: passes of our training over the same projections.
        own_batch: images in a batch of it.
    """

    name: str
    box_px: int
    count: int
    paper_epochs: int
    paper_steps: int
    own_epochs: int
    own_batch: int = 64

    @property
    def reduction(self) -> str:
        """Says what is smaller than in the paper; empty if nothing is."""
        if self.box_px == PAPER_BOX_PX:
            return ""
        return (
            f"Reduced: {self.count:,} projections of {self.box_px} px instead of 5,000 of "
            f"{PAPER_BOX_PX} px, and {self.paper_epochs * self.paper_steps:,} steps of the paper's "
            f"training instead of {150 * 247:,}, in both columns alike. Noise variances and shifts "
            f"are those of {PAPER_BOX_PX} px before the images are made smaller."
        )


SCALES = {
    scale.name: scale
    for scale in (
        Scale("quick", 32, 1200, paper_epochs=4, paper_steps=25, own_epochs=20),
        Scale("full", 32, 5000, paper_epochs=12, paper_steps=50, own_epochs=25),
        Scale("unreduced", PAPER_BOX_PX, 5000, paper_epochs=150, paper_steps=247, own_epochs=40),
    )
}


def find_scale(name: str) -> Scale:
    """Gives the scale of a name.

    Raises:
        InputError: there is no such size.
    """
    if name not in SCALES:
        raise InputError(f"size must be one of {', '.join(SCALES)}, not {name!r}")
    return SCALES[name]
