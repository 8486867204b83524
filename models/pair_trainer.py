"""What trains an extractor: all pairs of a batch, on any Keras backend."""

from typing import Any

import keras
from keras import ops

from cryotwin.models.pair_loss import weighted_pair_loss
from cryotwin.models.plain_heads import Head
from cryotwin.models.siamese import takes_ctf


class PairTrainer(keras.Model):
    """Wraps an extractor in the loss over all pairs of a batch."""

    def __init__(self, extractor: keras.Model, head: Head) -> None:
        super().__init__()
        self.extractor = extractor
        self.head = head
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
        """Gives the weighted squared error of all distances; y holds rotations as (B, 9)."""
        return weighted_pair_loss(ops.cast(y_pred, "float32"), y, self.head)
