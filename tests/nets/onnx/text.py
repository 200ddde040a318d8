"""Small ONNX models written down as text."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, parser

Array = NDArray[Any]
RNG = np.random.default_rng(7)
# Constants that the texts of the tests may use; only those that are used go into the model.
CONSTANTS: dict[str, Array] = {
    "zero": np.float32(0),
    "half": np.float32(0.5),
    "one": np.float32(1),
    "two": np.float32(2),
    "three": np.float32(3),
    "six": np.float32(6),
    "sqrt2": np.float32(math.sqrt(2)),
    "rsqrt2": np.float32(math.sqrt(0.5)),
    "sixth": np.float32(1 / 6),
    "minus_half": np.float32(-0.5),
    "cubic": np.float32(0.044715),
    "gelu_scale": np.float32(math.sqrt(2 / math.pi)),
    "quick": np.float32(1.702),
    "eps": np.float32(1e-5),
    "inv8": np.float32(1 / 8),
    "eight": np.float32(8),
    "gamma": RNG.uniform(0.5, 2, 8).astype(np.float32),
    "beta": RNG.normal(size=8).astype(np.float32),
    "gamma4": RNG.uniform(0.5, 2, 4).astype(np.float32),
    "beta4": RNG.normal(size=4).astype(np.float32),
    "mean4": RNG.normal(size=4).astype(np.float32),
    "var4": RNG.uniform(0.5, 2, 4).astype(np.float32),
    "gamma411": RNG.uniform(0.5, 2, (4, 1, 1)).astype(np.float32),
    "beta411": RNG.normal(size=(4, 1, 1)).astype(np.float32),
    "ones2": np.ones(2, np.float32),
    "zeros2": np.zeros(2, np.float32),
    "last": np.array([-1]),
    "spatial": np.array([2, 3]),
}


def from_text(text: str, opset: int = 17, domains: tuple[str, ...] = (), **arrays: Array) -> onnx.ModelProto:
    """A model from 'g (float[2,8] x) => (float[2,8] y) { ... }' with the constants that it names."""
    graph = parser.parse_graph(text)
    names = {name for node in graph.node for name in node.input} | {name for name in arrays if name in text}
    for name, array in {**CONSTANTS, **arrays}.items():
        if name in names:
            graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)
