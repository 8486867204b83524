"""What a network costs: parameters, arithmetic and time."""

import math
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from cryotwin.models.architectures import ARCHITECTURES
from cryotwin.models.heads import find_head
from cryotwin.models.siamese import build_extractor


def describe_architectures() -> list[dict[str, Any]]:
    """Lists the networks of the zoo with what they cost, built with 512 features.

    Returns:
        One dictionary for each: name, summary, own_head, takes_ctf, parameters, mflops_at_64_px.
    """
    return [
        {
            "name": name,
            "summary": architecture.summary,
            "own_head": architecture.own_head,
            "takes_ctf": architecture.takes_ctf,
            **_extractor_cost(name),
        }
        for name, architecture in ARCHITECTURES.items()
    ]


def _extractor_cost(name: str) -> dict[str, Any]:
    extractor = build_extractor(name, head=find_head("so3"), feature_dim=512)
    mflops = 2e-6 * multiply_adds(extractor, 64)
    return {"parameters": extractor.count_params(), "mflops_at_64_px": round(mflops, 1)}


def multiply_adds(model: keras.Model, size_px: int) -> int:
    """Counts the multiply-adds of one forward pass of one image (1, size_px, size_px, 1).

    Counted are convolutions, dense layers and matrix products, constant ones too, as their
    shapes give them; an FFT, an interpolation, a pooling, a normalisation and all that works
    pixel by pixel is not. A multiply-add is two floating-point operations (FLOPs).

    Args:
        model: functional; nested functional models are followed. Inputs that are no images
            (B, N, N, 1) keep the shape that they have.
        size_px: edge of the image.
    """
    shapes = [
        (1, size_px, size_px, *tensor.shape[3:])
        if len(tensor.shape) == 4
        else (1, *tensor.shape[1:])
        for tensor in model.inputs
    ]
    return _count_graph(model, shapes)


def images_per_second(
    model: keras.Model, size_px: int, *, batch_size: int = 64, seconds: float = 2.0
) -> float:
    """Times forward passes of an extractor on noise, after a warm-up.

    Args:
        model: images (B, N, N, 1), and the CTF where it takes it, to features.
        size_px: edge of the images.
        batch_size: images that go through at once.
        seconds: how long, at least.
    """
    images = np.random.default_rng(0).standard_normal((batch_size, size_px, size_px, 1))
    batch = [ops.convert_to_tensor(images.astype(np.float32)) for _ in model.inputs]
    model.predict_on_batch(batch)
    start, batches = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        model.predict_on_batch(batch)
        batches += 1
    return batches * batch_size / (time.perf_counter() - start)


def _count_graph(model: keras.Model, input_shapes: list[tuple[int, ...]]) -> int:
    # No public name in Keras gives the calls of a graph with their arguments.
    levels = model._nodes_by_depth.values()
    nodes = [node for level in levels for node in level if not node.is_input]
    tensors = [*model.inputs, *(tensor for node in nodes for tensor in node.outputs)]
    graph = keras.Function(model.inputs, tensors)
    inputs = [
        keras.KerasTensor(shape, dtype=t.dtype)
        for shape, t in zip(input_shapes, model.inputs, strict=True)
    ]
    specs = graph.compute_output_spec(inputs)
    shape_of = {id(t): tuple(spec.shape) for t, spec in zip(tensors, specs, strict=True)}
    return sum(_count_node(node, shape_of) for node in nodes)


def _count_node(node: Any, shape_of: dict[int, tuple[int, ...]]) -> int:
    operation, output = node.operation, shape_of[id(node.outputs[0])]
    if isinstance(operation, keras.Model):
        return _count_graph(operation, [shape_of[id(tensor)] for tensor in node.input_tensors])
    kind = type(operation).__name__
    if kind in _WITH_KERNEL:
        return math.prod(operation.kernel.shape) * math.prod(output[1:-1])
    if kind not in _OF_OPERANDS and kind != "EinsumDense":
        return 0
    operands = [shape_of.get(id(array), np.shape(array)) for array in node.arguments.args]
    if kind == "EinsumDense":
        return _count_einsum(operation.equation, [operands[0], operation.kernel.shape])
    return _OF_OPERANDS[kind](operation, operands, output)


def _count_einsum(equation: str, shapes: list[tuple[int, ...]]) -> int:
    """Multiplies the sizes of all indices, for equations without an ellipsis."""
    sizes: dict[str, int] = {}
    for term, shape in zip(equation.split("->")[0].split(","), shapes, strict=True):
        sizes |= zip(term.strip(), shape, strict=True)
    return math.prod(sizes.values())


_WITH_KERNEL = ("Conv1D", "Conv2D", "DepthwiseConv1D", "DepthwiseConv2D", "Dense")
"""Layers whose whole kernel is applied at each pixel of the output."""

_OF_OPERANDS: dict[str, Callable[[Any, list[tuple[int, ...]], tuple[int, ...]], int]] = {
    "Conv": lambda _, operands, output: math.prod(operands[1]) * math.prod(output[1:-1]),
    "DepthwiseConv": lambda _, operands, output: math.prod(operands[1]) * math.prod(output[1:-1]),
    "Matmul": lambda _, operands, output: math.prod(output) * operands[0][-1],
    "Dot": lambda _, operands, output: math.prod(output) * operands[0][-1],
    "Einsum": lambda operation, operands, _: _count_einsum(operation.subscripts, operands),
}
"""Operations that multiply two arrays: from their operation, operands and output."""
