"""A graph whose BatchNorm statistics can be fed anew on every run, for attribution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.observe.onnx.channels import replace_statistics
from normdiag.observe.onnx.edit import DOUBLE, PREFIX, GraphEdit, constant_array, drop_input_defaults
from normdiag.observe.onnx.plan import UNKNOWN, Plan
from normdiag.observe.protocol import ReplacedStatistics


def overridable_graph(proto: Any, plan: Plan) -> Any:
    """The model with mean and variance of every replaceable BatchNorm as float64 inputs whose default is the stored."""
    edit = GraphEdit(proto)
    drop_input_defaults(edit.model)
    for index, site in enumerate(plan.replaceable):
        layer = site.layer
        assert layer.running_mean is not None and layer.running_var is not None  # replaceable layers have both
        edit.slot = site.nodes[0]
        mean, var = _names(index)
        _add_default(edit.model.graph, mean, layer.running_mean)
        _add_default(edit.model.graph, var, layer.running_var)
        replace_statistics(edit, site, plan.types.get(site.input, UNKNOWN), mean, var)
    return edit.build()


def statistics_feed(plan: Plan, statistics: Mapping[str, ReplacedStatistics]) -> dict[str, NDArray[np.float64]]:
    """What to feed beside the data to put these statistics, by layer name, into their layers."""
    feed = {}
    for index, site in enumerate(plan.replaceable):
        if site.layer.name in statistics:
            mean, var = _names(index)
            each = statistics[site.layer.name]
            feed[mean], feed[var] = np.asarray(each.mean, np.float64), np.asarray(each.var, np.float64)
    return feed


def _names(index: int) -> tuple[str, str]:
    return f"{PREFIX}mean_{index}", f"{PREFIX}var_{index}"


def _add_default(graph: Any, name: str, value: NDArray[Any]) -> None:
    from onnx import helper

    graph.input.append(helper.make_tensor_value_info(name, DOUBLE, value.shape))
    graph.initializer.append(constant_array(value, np.float64, name))
