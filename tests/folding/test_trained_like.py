"""Right folds of nets that magnify rounding: verified on the inputs that can show something, and on no other."""

from __future__ import annotations

import pytest

import normdiag
from normdiag.data.options import DataOptions
from tests.folding.zoo.trained_like import NETS


@pytest.mark.parametrize("name", NETS)
def test_statistics_of_training_do_not_keep_a_fold_from_being_verified(name: str) -> None:
    result = normdiag.fold(NETS[name](), data_options=DataOptions(input_shapes=("3,32,32",)))
    found = result.verification
    assert found is not None and found.passed and not result.plan.refusals
    assert "proves nothing, and other inputs were compared" in (found.note or "")
