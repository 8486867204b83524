"""What trains an extractor: all pairs of a batch, on any Keras backend."""

from typing import Any

import keras
from keras import ops

from cryotwin.models.auxiliary_heads import auxiliary_heads, orientation_error
from cryotwin.models.pair_loss import weighted_pair_loss
from cryotwin.models.plain_heads import Head
from cryotwin.models.siamese import takes_ctf


class PairTrainer(keras.Model):
    """Wraps an extractor in the loss over all pairs of a batch.

    Args:
        extractor: what is trained.
        head: what distances are read off its features with.
        auxiliary_weight: of the squared error of the orientations that `auxiliary_heads` estimate,
            in the loss; at 0 there are none.
    """

    def __init__(self, extractor: keras.Model, head: Head, auxiliary_weight: float = 0.0) -> None:
        super().__init__()
        self.extractor = extractor
        self.head = head
        self.auxiliary_weight = auxiliary_weight
        self.auxiliary: keras.Model | None = None
        if auxiliary_weight > 0:
            self.auxiliary = auxiliary_heads(extractor.output.shape[-1])
        self.built = True

    def call(self, images: Any, training: bool = False) -> Any:
        """Gives the features (B, D) of images (B, N, N, 1), or of images and CTF (B, N, N, 2)."""
        if takes_ctf(self.extractor):
            images = [images[..., :1], images[..., 1:]]
        return self.extractor(images, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Gives the weighted squared error of all distances; y holds rotations as (B, 9).

        To it comes what the auxiliary heads, if there are any, are off.
        """
        features = ops.cast(y_pred, "float32")
        loss = weighted_pair_loss(features, y, self.head)
        if self.auxiliary is None:
            return loss
        return loss + self.auxiliary_weight * orientation_error(self.auxiliary(features), y)
