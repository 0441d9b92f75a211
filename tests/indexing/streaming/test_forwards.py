import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import nn

from conceptprobe.images import ImageSource, load_images
from conceptprobe.indexing import build_index
from conceptprobe.indexing.streaming.forwards import pooled_batches
from conceptprobe.indexing.streaming.loader import load_batches
from conceptprobe.models import ModelError, VisionModel, load_model

LAYERS = "blocks[2:5].mlp.hidden"


@pytest.fixture(scope="module")
def emoji() -> ImageSource:
    images = load_images("mini:emoji/noto")
    return images.subset(range(0, len(images), len(images) // 200))


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def where_forwards_run(model: VisionModel, images: ImageSource, layers: str = LAYERS) -> set[int]:
    """Threads that the block's module ran in."""
    ran: set[int] = set()
    forward = model.module.blocks[0].forward

    def noted(x: torch.Tensor) -> torch.Tensor:
        ran.add(threading.get_ident())
        return forward(x)

    model.module.blocks[0].forward = noted
    try:
        batches = load_batches(
            images, model.preprocess, size=8, shape=model.image_size, workers=0, pin=False, device=model.device
        )
        numbers = [batch.number for batch, _ in pooled_batches(model, model.resolve(layers), ("mean",), batches)]
    finally:
        del model.module.blocks[0].forward
    assert numbers == list(range(-(-len(images) // 8)))
    return ran


@pytest.mark.slow
def test_batches_side_by_side_give_the_bytes_of_one_after_the_other(
    emoji: ImageSource, tmp_path: Path, threads: None
) -> None:
    model = load_model("mini:clip", device="cpu")
    for count in (1, 2, 3):  # of lanes 1, 2 and 2, each with one thread
        torch.set_num_threads(count)
        build_index(model, emoji, LAYERS, tmp_path / str(count), batch_size=16, workers=0)
        assert torch.get_num_threads() == count
    assert files(tmp_path / "1") == files(tmp_path / "2") == files(tmp_path / "3")


@pytest.mark.slow
def test_forwards_run_beside_the_caller_unless_something_could_tell(emoji: ImageSource, threads: None) -> None:
    model, here = load_model("mini:supervised", device="cpu"), {threading.get_ident()}
    torch.set_num_threads(1)
    assert where_forwards_run(model, emoji) == here
    torch.set_num_threads(2)
    assert len(where_forwards_run(model, emoji) - here) == 2
    with model.intervene({"blocks.1.resid": torch.zeros_like}):
        assert where_forwards_run(model, emoji) == here
    model.attach("double", "blocks.1.resid", lambda x: 2 * x, 192)
    assert where_forwards_run(model, emoji, "double") == here
    assert len(where_forwards_run(model, emoji) - here) == 2
    assert not VisionModel.wrap(nn.Conv2d(3, 4, 3), layers=[""], image_size=8, mean=(0,) * 3, std=(1,) * 3).concurrent


def test_a_fault_in_a_lane_comes_through_and_leaves_nothing_behind(emoji: ImageSource, threads: None) -> None:
    model = load_model("mini:clip", device="cpu")
    torch.set_num_threads(2)
    batches = load_batches(
        emoji, lambda image: torch.zeros(3, 4, 4), size=8, shape=(4, 4), workers=0, pin=False, device=model.device
    )
    with pytest.raises(ModelError, match="takes images of"):
        list(pooled_batches(model, model.resolve(LAYERS), ("mean",), batches))
    assert torch.get_num_threads() == 2
    assert not any(module._forward_hooks for module in model.module.modules())


@pytest.mark.slow
def test_one_visit_serves_several_threads(threads: None) -> None:
    model = load_model("mini:clip", device="cpu")
    torch.set_num_threads(1)
    pixels = torch.rand(24, 2, 3, *model.image_size, generator=torch.Generator().manual_seed(0))
    names = ["blocks.1.attn.probs", "blocks.4.mlp.hidden"]
    expected = [model.capture(each, names) for each in pixels]
    with model.visiting(names) as visit, ThreadPoolExecutor(4, "t", torch.set_num_threads, (1,)) as pool:

        def look(each: torch.Tensor) -> dict[str, torch.Tensor]:
            seen: dict[str, torch.Tensor] = {}
            visit(each, seen.__setitem__)
            return seen

        found = list(pool.map(look, pixels))
    for own, right in zip(found, expected, strict=True):
        assert own.keys() == right.keys()
        assert all(torch.equal(own[name], right[name]) for name in right)
