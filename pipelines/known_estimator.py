"""An estimator as the driver of a pipeline knows it: opened, and checked against the particles."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryotwin.models.features import extract_features
from cryotwin.models.model_files import list_models, load, metadata_of, resolve, sha256
from cryotwin.models.plain_heads import Head
from cryotwin.models.siamese import head_of, takes_ctf
from cryotwin.pipelines.embedding_source import Particles
from cryotwin.pipelines.feature_shards import ParticleSource, fitted_inputs


@dataclass(frozen=True)
class KnownEstimator:
    """An estimator that takes the particles.

    Attributes:
        where: the path or the published name that workers open it by.
        digest: SHA-256 of its file.
        metadata: of it, with `takes_ctf`.
        head: gives the distances.
        feature_dim: D.
        input_bytes: of one particle as it takes it.
    """

    where: str
    digest: str
    metadata: dict[str, Any]
    head: Head
    feature_dim: int
    input_bytes: int


def open_estimator(name_or_path: str | Path, particles: Particles) -> KnownEstimator:
    """Opens an estimator, and passes the first particle through it to see that they fit.

    Raises:
        InputError: no such estimator, or it does not take such particles.
    """
    path = resolve(name_or_path)
    model = load(path)
    extractor = model.get_layer("extractor")
    metadata = metadata_of(model) | {"takes_ctf": takes_ctf(extractor)}
    source = ParticleSource("", particles.split, particles.name, particles.pixel_size_angstrom)
    images, ctf = fitted_inputs(particles.first(), source, metadata)
    published = str(name_or_path).lower() in [entry["name"] for entry in list_models()]
    return KnownEstimator(
        where=str(name_or_path) if published else str(path.resolve()),
        digest=sha256(path),
        metadata=metadata,
        head=head_of(model),
        feature_dim=extract_features(extractor, images, ctf).shape[1],
        input_bytes=images.nbytes + (0 if ctf is None else ctf.nbytes),
    )
