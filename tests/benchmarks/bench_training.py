"""What a training step costs by backend and precision, at 40 px.

Each backend has a process of its own, which takes some steps of every variant in its turn: ratios
are of one run and one load.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

ROUNDS, STEPS, BATCH, SIZE = 5, 3, 64, 40
ARCHITECTURES = ("resnet_small", "polar_search")
BACKENDS = {
    "tensorflow": ("float32", "mixed_bfloat16"),
    "jax": ("float32", "mixed_bfloat16"),
}
"""With the precisions; the first of TensorFlow is the default of `cryotwin train`."""

PROGRAM = """
import json, sys, time
from contextlib import ExitStack
import keras
import numpy as np
from cryotwin.imaging.rotations import quaternions_to_matrices, uniform_quaternions
from cryotwin.models.heads import find_head
from cryotwin.models.pair_trainer import PairTrainer
from cryotwin.models.precision import computing_in
from cryotwin.models.siamese import build

variants, steps, batch, size = json.loads(sys.argv[1])
rng = np.random.default_rng(0)
images = rng.standard_normal((batch, size, size, 1)).astype(np.float32)
rotations = quaternions_to_matrices(uniform_quaternions(batch, rng)).astype(np.float32)
rotations = rotations.reshape(batch, 9)
with ExitStack() as stack:
    trainers = []
    for name, precision in variants:
        trainer = PairTrainer(build(name).get_layer("extractor"), find_head("so3"))
        on_jax = keras.backend.backend() == "jax"
        trainer.compile(optimizer=keras.optimizers.AdamW(1e-3), jit_compile=on_jax)
        stack.enter_context(computing_in(trainer.extractor, precision))
        trainer.train_on_batch(images, rotations)  # It is compiled here.
        trainers.append(trainer)
    print("ready", flush=True)
    for number in map(int, sys.stdin):
        start = time.perf_counter()
        for _ in range(steps):
            loss = float(trainers[number].train_on_batch(images, rotations))
        print(time.perf_counter() - start, loss, flush=True)
"""


@pytest.fixture(scope="module")
def seconds(tmp_path_factory):
    """Median seconds a step by architecture, backend and precision."""
    pytest.importorskip("jax")
    runs, found = [], {}
    for backend, ways in BACKENDS.items():
        variants = [(name, way) for name in ARCHITECTURES for way in ways]
        process = _start(backend, variants)
        assert process.stdout.readline() == "ready\n"
        runs.append((process, backend, variants))
    for _ in range(ROUNDS):
        for process, backend, variants in runs:
            for number, (name, precision) in enumerate(variants):
                process.stdin.write(f"{number}\n")
                process.stdin.flush()
                taken, loss = map(float, process.stdout.readline().split())
                assert np.isfinite(loss)
                found.setdefault((name, backend, precision), []).append(taken / STEPS)
    for process, _, _ in runs:
        process.communicate()
    return {key: float(np.median(times)) for key, times in found.items()}


def _start(backend, variants):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps([variants, STEPS, BATCH, SIZE])],
        env=os.environ | {"KERAS_BACKEND": backend},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_no_way_to_train_is_three_times_as_fast_as_the_default(seconds, record_result):
    for name in ARCHITECTURES:
        base = seconds[name, "tensorflow", "float32"]
        for (architecture, backend, precision), step in seconds.items():
            if architecture == name:
                record_result(
                    f"{name} at {SIZE} px, {backend}, {precision}: {BATCH / step:,.0f} images/s, "
                    f"{base / step:.2f} times the default"
                )
        fastest = min(step for (which, *_), step in seconds.items() if which == name)
        assert base < 3 * fastest
