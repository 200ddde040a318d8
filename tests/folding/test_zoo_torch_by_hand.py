"""Layer norms in elementary operations, as the other modules of the zoo."""

import pytest

from tests.folding.test_zoo_torch import check
from tests.folding.zoo.torch_by_hand import ZOO
from tests.folding.zoo.torch_case import TorchCase


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in ZOO.cases])
def test_norms_by_hand(case: TorchCase) -> None:
    check(case)
