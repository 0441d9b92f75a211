import numpy as np
import pytest
import torch

from conceptprobe.visualization.parametrizations.colour import BASIS, correlate, decorrelate


@pytest.mark.parametrize("longest", [False, True])
def test_decorrelate_is_the_inverse_of_correlate(longest: bool) -> None:
    values = torch.randn(3, 3, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    back = decorrelate(correlate(values, longest), longest)
    torch.testing.assert_close(back, values, rtol=0, atol=1e-12)


def test_independent_channels_get_the_covariance_of_natural_colours() -> None:
    values = torch.randn(1, 3, 400, 500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    covariance = np.cov(correlate(values)[0].flatten(1).numpy())
    basis = np.array(BASIS)
    np.testing.assert_allclose(covariance, basis @ basis.T, atol=1e-3)


def test_lucids_scaling_gives_the_matrix_that_xplique_and_horama_print() -> None:
    columns = correlate(torch.eye(3, dtype=torch.float64)[:, :, None, None], longest=True)[:, :, 0, 0]
    printed = [
        [0.56282854, 0.58447580, 0.58447580],
        [0.19482528, 0.00000000, -0.19482528],
        [0.04329450, -0.10823626, 0.06494176],
    ]
    np.testing.assert_allclose(columns.numpy(), printed, atol=1e-7)


def test_rounding_does_not_depend_on_the_batch() -> None:
    values = torch.randn(7, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    whole = correlate(values)
    assert whole.dtype == torch.float32
    for i in range(len(values)):
        assert torch.equal(correlate(values[i : i + 1])[0], whole[i])
