"""Why a norm is no fixed affine map."""

from __future__ import annotations

import numpy as np
import pytest

from normdiag.graph.eval_norm import eval_affine
from normdiag.records import NormLayer

ONES = np.ones(2)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        # As torch's first ONNX exporter writes track_running_stats=False: in training mode, for lack of any statistics.
        (NormLayer("bn", "batch_norm", "graph", training=True, eps=1e-5), "no running statistics"),
        (
            NormLayer("bn", "batch_norm", "graph", training=True, eps=1e-5, running_mean=ONES, running_var=ONES),
            "training",
        ),
        (NormLayer("bn", "batch_norm", "graph", running_mean=ONES, running_var=ONES), "--arch"),
    ],
)
def test_the_reason_is_the_one_to_act_on(layer: NormLayer, reason: str) -> None:
    found = eval_affine(layer)
    assert isinstance(found, str)
    assert reason in found
