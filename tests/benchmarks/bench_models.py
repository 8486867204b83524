"""How fast an estimator turns images into features, and features into distances."""

import numpy as np

from cryotwin.models.heads import find_head
from cryotwin.models.siamese import build

COUNT = 256


def test_features_of_images(measure):
    images = np.random.default_rng(0).normal(size=(COUNT, 64, 64, 1)).astype(np.float32)
    extractor = build("resnet_small").get_layer("extractor")
    measure(
        f"features of {COUNT} images of 64 px, resnet_small",
        lambda: extractor.predict(images, batch_size=64, verbose=0),
        items=COUNT,
        unit="images",
    )


def test_distances_of_features(measure):
    features = np.random.default_rng(0).normal(size=(2000, 512))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    measure(
        "distances of 2,000 features of length 512",
        lambda: find_head("so3").distances_in_numpy(features, features),
        items=len(features) ** 2,
        unit="pairs",
    )
