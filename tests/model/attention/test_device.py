"""Every mechanism gives on the accelerator what it gives on the CPU: outputs, weights and gradients."""

import numpy as np
import pytest

from tests import device
from tests.model.attention import cases

pytestmark = pytest.mark.gpu
TARGET = np.random.default_rng(1).normal(size=(cases.B, cases.T, 1, 1, cases.D))


@pytest.mark.parametrize("kind", cases.KINDS)
def test_a_mechanism_agrees_with_the_cpu(kind):
  made, given, mask = _case(kind)
  device.agree(lambda made, given: cases.solve(made, given, mask, TARGET), made, given)


@pytest.mark.parametrize("kind", cases.able(blockwise=True))
def test_by_blocks_of_keys_it_agrees_too(kind):
  made, given, mask = _case(kind)
  device.agree(lambda made, given: cases.run(made, given, mask, block=cases.paths(kind)[-1]), made, given)


def _case(kind):
  grouping = cases.usual(kind)
  views = cases.mechanism(kind, *grouping).views
  given = cases.given(kind, *grouping)
  given = tuple((one,) * views for one in given) if views > 1 else given
  return cases.mechanism(kind, *grouping), given, cases.self_mask(cases.packed())
