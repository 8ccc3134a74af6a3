from itertools import pairwise

import pytest

from nwa_lightning.optim.schedules import cosine_factor, inverse_sqrt_factor


def test_schedules_waste_no_step_and_end_where_they_should():
    inverse = [inverse_sqrt_factor(step, warmup=4) for step in range(16)]
    assert inverse[:4] == [0.25, 0.5, 0.75, 1.0]
    assert inverse[15] == pytest.approx(0.5)
    cosine = [cosine_factor(step, warmup=4, total=104) for step in range(110)]
    assert cosine[:4] == [0.25, 0.5, 0.75, 1.0]
    assert cosine[54] == pytest.approx(0.5)
    assert cosine[103] < 1e-3
    assert cosine[104:] == [0.0] * 6
    for factors in (inverse, cosine):
        assert all(later <= earlier for earlier, later in pairwise(factors[4:]))
