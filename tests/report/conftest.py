"""A small index without a model: chosen top lists over a folder of coloured squares."""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from conceptprobe.images import load_images

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LABELS = ("skull", "coffin", "guitar", "radio", "cat", "education")
TAGS = (("death", "face"), ("death",), ("music",), ("music",), ("animal",), ("school",))
STYLES = ("ink", "oil", "wax")


@dataclass(frozen=True)
class FakeIndex:
    """The parts of an index that a report reads."""

    path: Path
    manifest: Any
    images: pd.DataFrame
    lists: dict[str, tuple[np.ndarray, np.ndarray, pd.DataFrame]]

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(self.lists)

    def top_rows(self, layer: str, pooling: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        return self.lists[layer][:2]

    def stats(self, layer: str, pooling: str | None = None) -> pd.DataFrame:
        return self.lists[layer][2]


MakeIndex = Callable[..., FakeIndex]


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 squares, `label/style.png`."""
    folder = tmp_path_factory.mktemp("squares")
    for i, label in enumerate(LABELS):
        (folder / label).mkdir()
        for j, style in enumerate(STYLES):
            Image.new("RGB", (40, 30), (40 * i, 80 * j, 120)).save(folder / label / f"{style}.png")
    return folder


@pytest.fixture(scope="session")
def make_index(tmp_path_factory: pytest.TempPathFactory, image_folder: Path) -> MakeIndex:
    """A function that makes an index from activations [n, f] over the squares."""
    source = load_images(f"folder:{image_folder}")

    def make(
        acts_nf: np.ndarray,
        *,
        spec: str = "mini:clip",
        layers: Sequence[str] = ("blocks.0.mlp.hidden",),
        k: int = 18,
        dead: Sequence[int] = (),
        labels: dict[str, str] | None = None,
        tags: dict[str, Sequence[str]] | None = None,
        drop: Sequence[str] = (),
        source_spec: str | None = None,
    ) -> FakeIndex:
        images = source.table.to_pandas()
        known = images["id"].str.split("/").str[0]
        images["label"] = known.map(labels) if labels else known
        images["style"] = images["id"].str.extract(r"/(.*)\.png")[0]
        images["tags"] = [list((tags or dict(zip(LABELS, TAGS, strict=True)))[label]) for label in known]
        images = images.drop(columns=list(drop))
        order = np.argsort(-acts_nf, axis=0, kind="stable")[:k].T
        values = np.take_along_axis(acts_nf, order.T, 0).T.astype(np.float32)
        stats = pd.DataFrame({"feature": range(acts_nf.shape[1]), "max": acts_nf.max(0)})
        stats["firing_rate"] = (acts_nf > 0).mean(0)
        stats["dead"] = stats["feature"].isin(dead)
        path = tmp_path_factory.mktemp("index")
        (path / "manifest.json").write_text("{}")
        manifest = SimpleNamespace(
            model={"spec": spec, "fingerprint": "0123456789abcdef" * 4, "preprocessing": {}},
            source={
                "spec": source_spec or source.spec,
                "fingerprint": source.fingerprint,
                "background": source.background,
            },
            layers={layer: {"width": acts_nf.shape[1]} for layer in layers},
            pooling=("mean", "max"),
            k=k,
            batch_size=64,
            counts={"listed": len(source) + 1, "indexed": len(source), "skipped": 1},
            versions={"conceptprobe": "0.1.0", "torch": "2.14.1"},
        )
        return FakeIndex(path, manifest, images, {layer: (order.astype(np.int64), values, stats) for layer in layers})

    return make


@pytest.fixture(scope="session")
def read_script() -> Callable[[Path], Any]:
    """A function that reads back the value in a data script."""

    def read(path: Path) -> Any:
        found = re.search(r"\nconceptprobe\.\w+ = (.*);\n$", path.read_text(), re.DOTALL)
        assert found, path
        return json.loads(found[1])

    return read


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium: the system's, else the one that `playwright install chromium` brings."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        if path is None and not Path(playwright.chromium.executable_path).exists():
            pytest.fail(
                f"no browser found, looked for {', '.join(BROWSERS)}: `apt-get install chromium`, "
                "or `playwright install chromium`"
            )
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()
