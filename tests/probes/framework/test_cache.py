import numpy as np
import pytest

from conceptprobe.images import ImageSource, load_images
from conceptprobe.models import VisionModel, load_model
from conceptprobe.probes import run_probe
from conceptprobe.probes.framework.cache import Memory


def test_a_value_is_made_once_and_the_one_used_longest_ago_goes_first() -> None:
    made: list[str] = []

    def value(key: str, size: int = 4) -> str:
        def make() -> str:
            made.append(key)
            return key * 2

        return memory.get(key, make, lambda found: size)

    memory = Memory(limit=10)
    assert [value("a"), value("b"), value("a")] == ["aa", "bb", "aa"]
    value("c")  # b has to go
    value("a")
    value("b")
    value("huge", 11)
    value("huge", 11)
    value("b")
    assert made == ["a", "b", "c", "b", "huge", "huge"]


@pytest.mark.slow
def test_probes_that_share_a_memory_find_the_same_and_see_clean_images_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = load_model("mini:supervised"), load_images("mini:emoji/noto")
    read: list[int] = []
    shown: list[int] = []
    load, capture = ImageSource.load, VisionModel.capture
    monkeypatch.setattr(ImageSource, "load", lambda self, row, **kw: (read.append(row), load(self, row, **kw))[1])
    monkeypatch.setattr(
        VisionModel,
        "capture",
        lambda self, pixels, layers: (shown.append(len(pixels)), capture(self, pixels, layers))[1],
    )
    asked = {"cutout": {"shares": (0.2,), "draws": 1}, "shuffle": {"grids": ((2, 2),), "draws": 1}}
    alone = {name: run_probe(name, model, images, n=9, **settings) for name, settings in asked.items()}
    assert (len(read), sum(shown)) == (18, 36)
    read.clear()
    shown.clear()
    memory = Memory()
    for name, settings in asked.items():
        found = run_probe(name, model, images, n=9, memory=memory, **settings)
        assert found.frame.equals(alone[name].frame)
        assert np.array_equal(found.survival["value"], alone[name].survival["value"])
    assert (len(read), sum(shown)) == (9, 27)
