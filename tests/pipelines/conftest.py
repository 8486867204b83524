"""A list of maps, and what the shards of a dataset hold."""

import numpy as np
import pytest

from cryotwin.imaging.maps import write_map


@pytest.fixture(scope="session")
def blob_list(tmp_path_factory):
    """A .csv of four maps in three clusters, and of one that is not there."""
    folder = tmp_path_factory.mktemp("blobs")
    z, y, x = np.mgrid[:24, :24, :24] - 12
    for number in range(4):
        centres = np.random.default_rng(number).uniform(-5, 5, (5, 3))
        density = sum(
            np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 4) for a, b, c in centres
        )
        write_map(folder / f"m{number}.mrc", density, 2 + number / 10)
    rows = ["file,cluster", "m0.mrc,a", "m1.mrc,a", "nowhere.mrc,b", "m2.mrc,b", "m3.mrc,c"]
    (folder / "list.csv").write_text("\n".join(rows))
    return folder / "list.csv"


@pytest.fixture(scope="session")
def records():
    """Gives records(folder): the bytes of all examples in each split, in order of content."""

    def read(folder):
        found = {}
        for path in folder.glob("cryotwin-*.tfrecord-*"):
            content, place = path.read_bytes(), 0
            while place < len(content):
                length = int.from_bytes(content[place : place + 8], "little")
                example = content[place + 12 : place + 12 + length]
                found.setdefault(path.name.split(".")[0], []).append(example)
                place += 12 + length + 4
        return {split: sorted(examples) for split, examples in found.items()}

    return read
