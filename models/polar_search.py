"""`polar_search`: `polar_harmonic` for particles that are off-centre.

Projection matching looks for the shift along with the orientation. So does this network: its
templates are compared about nine points around the middle of the image, and what they find there
is joined by a soft maximum before the next layer.
"""

import keras
from keras import layers, ops

from cryotwin.models.circular_harmonics import mix_channels, sample_polar, to_angles, to_harmonics
from cryotwin.models.plain_heads import Head
from cryotwin.models.polar_harmonic import circular_layer, turning_features

_GRID_PX = 40
_STEP_PX = 1.9
"""Between centres. Shifts up to one and a half times that, 7% of the box, are covered: what is
looked for changes little over a pixel of the grid."""

_RINGS = 14
_SAMPLED_ANGLES = 48
_TEMPLATE_ORDERS = 16
_TEMPLATES = 128
_TEMPLATE_ANGLES = 32
_ORDERS = 14
_CHANNELS = 160
_ANGLES = 32
_LAYERS = 2
_SHARPNESS = 3.0
"""Of the soft maximum, on scores of unit variance."""


def polar_search(images: keras.KerasTensor, feature_dim: int, head: Head) -> keras.KerasTensor:
    """Turns standardised images (B, N, N, K), any N and K, into features (B, feature_dim).

    They turn with the image as those of `polar_harmonic` do, for quarter turns exactly: those map
    the centres onto each other.
    """
    steps = (-_STEP_PX, 0.0, _STEP_PX)
    x = sample_polar(
        images,
        grid_px=_GRID_PX,
        rings=_RINGS,
        angles=_SAMPLED_ANGLES,
        centres_px=[(x, y) for y in steps for x in steps],
    )
    x = mix_channels(to_harmonics(x, _TEMPLATE_ORDERS), _TEMPLATES, "templates")
    x = to_angles(x, _TEMPLATE_ANGLES)
    scores = layers.BatchNormalization(momentum=0.95, name="scores_norm")(x)
    scores = ops.reshape(scores, (-1, len(steps) ** 2, _TEMPLATE_ANGLES * _TEMPLATES))
    x = ops.logsumexp(_SHARPNESS * scores, axis=1) / _SHARPNESS
    x = ops.reshape(x, (-1, _TEMPLATE_ANGLES, _TEMPLATES))
    x = layers.BatchNormalization(momentum=0.95, name="templates_norm")(x)
    x = layers.Activation("relu", name="templates_relu")(x)
    for layer in range(_LAYERS):
        x = circular_layer(to_harmonics(x, _ORDERS), _CHANNELS, _ANGLES, f"layer{layer + 1}")
    return turning_features(to_harmonics(x, _ORDERS), feature_dim, head)
