from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryotwin.datasets.splits import SPLITS, split_sizes
from cryotwin.imaging.errors import InputError
from cryotwin.pipelines.generate_settings import GenerateSettings
from cryotwin.pipelines.particle_shards import plan_shards
from cryotwin.pipelines.subjects import Subject


def subjects(count, clusters=None):
    return [
        Subject(
            name=f"s{number}",
            source="",
            pixel_size_angstrom=1.0 + number,
            diameter_angstrom=50.0,
            resolution_angstrom=None,
            atoms=None,
            signal_variance=1.0,
            cluster=f"c{number % (clusters or count)}",
            report={},
        )
        for number in range(count)
    ]


@given(st.integers(1, 9), st.integers(3, 40), st.integers(1, 50))
def test_every_particle_is_in_one_shard_and_none_is_too_large(structures, count, per_shard):
    settings = GenerateSettings(count=count)
    tasks = plan_shards(subjects(structures), settings, Path("out"), per_shard)
    seen = Counter(
        (task.split, part.structure, place)
        for task in tasks
        for part in task.parts
        for place in range(part.start, part.stop)
    )
    assert seen == Counter(
        (split, f"s{number}", place)
        for split, size in split_sizes(count).items()
        for number in range(structures)
        for place in range(size)
    )
    for split in SPLITS:
        own = [task for task in tasks if task.split == split]
        assert [(task.shard, task.shards) for task in own] == [
            (shard, len(own)) for shard in range(len(own))
        ]
        counts = [task.count for task in own]
        assert max(counts) <= per_shard
        assert max(counts) - min(counts) <= 1


def test_a_part_brings_the_pixel_size_and_the_volume_of_its_structure():
    tasks = plan_shards(subjects(3), GenerateSettings(count=5), Path("out"), 100)
    for task in tasks:
        assert [(p.structure, p.pixel_size_angstrom, p.volume) for p in task.parts] == [
            (f"s{number}", 1.0 + number, f"volumes/s{number}.mrc") for number in range(3)
        ]


def test_three_hundred_structures_with_few_images_share_few_shards():
    tasks = plan_shards(subjects(300), GenerateSettings(count=100), Path("out"), 512)
    assert len(tasks) == 30 + 10 + 20


def test_by_cluster_no_two_splits_share_one():
    settings = GenerateSettings(count=10, split_by="cluster")
    tasks = plan_shards(subjects(60, clusters=20), settings, Path("out"), 7)
    homes = {}
    for task in tasks:
        for part in task.parts:
            homes.setdefault(int(part.structure[1:]) % 20, set()).add(task.split)
    assert all(len(splits) == 1 for splits in homes.values())
    assert len(homes) == 20
    assert sum(task.count for task in tasks) == 600


def test_two_clusters_are_told_to_be_too_few():
    settings = GenerateSettings(count=10, split_by="cluster")
    with pytest.raises(InputError, match="clusters of structures must be at least 3"):
        plan_shards(subjects(10, clusters=2), settings, Path("out"), 7)
