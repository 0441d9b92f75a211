from collections.abc import Iterator

import numpy as np
import pytest
import torch

from conceptprobe.indexing.reducers.moments import Moments
from conceptprobe.indexing.reducers.pooling import pool
from conceptprobe.indexing.reducers.sample import DECILES, STRIP_IMAGES, summarise
from conceptprobe.indexing.reducers.topk import TopK
from conceptprobe.models import Layer, load_model


@pytest.fixture
def no_default_device() -> Iterator[None]:
    """A tensor that is made without saying where holds no data."""
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


@pytest.mark.usefixtures("no_default_device")
def test_reducers_make_their_tensors_where_the_data_is() -> None:
    acts = torch.randn(6, 5, 4, device="cpu")
    layer = Layer("t", width=4, kind="tokens", prefix=1, cls=0, grid=(2, 2))
    top = TopK(4, 3, positions=True)
    moments = Moments(4)
    pooled = pool(acts, layer, "max")
    top.add(pooled.values_bf, torch.arange(6, device="cpu"), pooled.positions_bf)
    moments.add(pooled.values_bf, 0)
    expected = acts[:, 1:].amax(1)
    assert torch.equal(top.result().values_fk, expected.sort(0, descending=True).values[:3].T)
    torch.testing.assert_close(moments.result()["mean"], expected.double().mean(0))
    summary = summarise(pooled.values_bf.numpy(), 0.0, np.zeros((4, DECILES, STRIP_IMAGES)))
    np.testing.assert_allclose(summary.quantiles_qf[3], np.median(expected.numpy(), 0), rtol=1e-6)


def test_a_model_makes_its_tensors_where_its_weights_are() -> None:
    model = load_model("mini:clip@random", device="cpu")
    pixels = torch.rand(2, 3, 48, 48)
    plain = model.capture(pixels, "final")["final"], model.encode_text(["skull"])
    torch.set_default_device("meta")
    try:
        again = model.capture(pixels, "final")["final"], model.encode_text(["skull"])
    finally:
        torch.set_default_device(None)
    assert torch.equal(plain[0], again[0])
    assert torch.equal(plain[1], again[1])
