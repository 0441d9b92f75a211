"""One tool of the comparison in peers.py, which starts this. For every path that it reads it does its work once, leaves
the lists there, and prints the seconds."""

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from common import VIT, Pictures, make_model
from conceptprobe.images import ImageSource, load_images
from conceptprobe.models import VisionModel

BATCH = 64
K = 40
Lists = dict[str, np.ndarray]  # of every module the rows of every feature's images [f,k]


@dataclass(frozen=True)
class Case:
    """A model, the modules that are its layers, and how many images.

    Every number of images is a multiple of the batch size: zennit-crp fails on a last batch of one.
    """

    spec: str
    blocks: tuple[int, ...]
    images: int
    quick: int

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(f"blocks.{block}.mlp.act" for block in self.blocks)

    @property
    def layers(self) -> list[str]:
        return [f"blocks.{block}.mlp.hidden" for block in self.blocks]

    def model(self) -> VisionModel:
        return make_model(self.spec)

    def pictures(self, count: int) -> "Pictures | Resized":
        size = self.model().image_size[0]
        return Pictures(count, size) if self.spec == VIT else Resized(load_images("mini:emoji"), count, size)

    def pixels(self, count: int) -> torch.Tensor:
        """All images as the module takes them, normalised."""
        dataset = Normalised(self.model(), self.pictures(count))
        return torch.stack([dataset[position][0] for position in range(count)])


class Resized:
    """Some images of a source at the size of the model, in memory."""

    def __init__(self, source: ImageSource, count: int, size: int) -> None:
        rows = np.linspace(0, len(source) - 1, count).astype(int)
        self._images = [source.load(int(row)).image.resize((size, size), Image.Resampling.BICUBIC) for row in rows]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, position: int) -> Image.Image:
        return self._images[position]


class Normalised:
    """What the other tools take: normalised pixels and a class, made of a PIL image when it is asked for."""

    def __init__(self, model: VisionModel, pictures: "Pictures | Resized") -> None:
        self._preprocess, self._pictures, self.name = model.preprocess, pictures, "pictures"
        self._mean, self._std = (torch.tensor(model.preprocessing[key])[:, None, None] for key in ("mean", "std"))

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        return (self._preprocess(self._pictures[position]) - self._mean) / self._std, 0


def pooled_mean(acts_btf: torch.Tensor) -> torch.Tensor:
    """The mean over patches; the models have one token before them."""
    return acts_btf[:, 1:].mean(1)


def conceptprobe(case: Case, count: int) -> Callable[[], Lists]:
    from conceptprobe.indexing import build_index

    model, source = case.model(), load_images(case.pictures(count))

    def run() -> Lists:
        with tempfile.TemporaryDirectory() as folder:
            index = build_index(
                model, source, case.layers, Path(folder) / "i", pooling=("mean",), k=K, batch_size=BATCH, workers=0,
                vectors=False,
            )  # fmt: skip
            return {path: index.top_rows(layer)[0] for path, layer in zip(case.paths, case.layers, strict=True)}

    return run


def bare(case: Case, count: int, *, whole: bool) -> Callable[[], Lists]:
    """The forward pass and nothing else, over pixels that are ready: to the end, or to the last layer asked for."""
    model, pixels_nchw = case.model(), case.pixels(count)

    class Stop(Exception):  # noqa: N818
        pass

    def stop(*_: object) -> None:
        raise Stop

    def run() -> Lists:
        hook = model.module.get_submodule(case.paths[-1]).register_forward_hook
        handle = None if whole else hook(stop)
        with torch.inference_mode():
            for batch in pixels_nchw.split(BATCH):
                with contextlib.suppress(Stop):
                    model.module(batch)
        if handle is not None:
            handle.remove()
        return {}

    return run


def zennit_crp(case: Case, count: int) -> Callable[[], Lists]:
    """`FeatureVisualization.run`, without a composite; sums are not divided by the image's (`abs_norm`), for then the
    lists would be others. It always ranks by relevance, too, and so runs backward."""
    from crp.attribution import CondAttribution
    from crp.concepts import ChannelConcept
    from crp.visualization import FeatureVisualization

    model = case.model()
    dataset = Normalised(model, case.pictures(count))

    class TokenConcept(ChannelConcept):
        """Channels of tokens are last; this puts them where those of maps are."""

        def reference_sampling(self, relevance: torch.Tensor, *args: object, **kwargs: object) -> object:
            return super().reference_sampling(relevance[:, 1:].transpose(1, 2), *args, **kwargs)

    def run() -> Lists:
        with tempfile.TemporaryDirectory() as folder:
            seeker = FeatureVisualization(
                CondAttribution(model.module), dataset, {path: TokenConcept() for path in case.paths}, max_target="sum",
                abs_norm=False, path=folder,
            )  # fmt: skip
            seeker.run(None, 0, count, batch_size=BATCH)
            return {path: np.load(next(Path(folder).glob(f"ActMax*/{path}_*data.npy"))).T for path in case.paths}

    return run


def zennit_crp_forward(case: Case, count: int) -> Callable[[], Lists]:
    """Its `Maximization` alone, in forward hooks of ours and without gradients: less than its users get, but faster."""
    from crp.concepts import ChannelConcept
    from crp.maximization import Maximization

    model = case.model()
    dataset, concept = Normalised(model, case.pictures(count)), ChannelConcept()

    def run() -> Lists:
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            maximum, rows = Maximization("activation", "sum", False, folder), np.arange(0)

            def hook(path: str) -> Callable[..., None]:
                def take(_module: object, _input: object, acts: torch.Tensor) -> None:
                    maximum.analyze_layer(acts[:, 1:].transpose(1, 2), concept, path, rows, np.zeros(len(rows)))

                return take

            handles = [model.module.get_submodule(path).register_forward_hook(hook(path)) for path in case.paths]
            for number, (batch, _) in enumerate(DataLoader(dataset, BATCH)):
                rows = np.arange(number * BATCH, number * BATCH + len(batch))
                model.module(batch)
            for handle in handles:
                handle.remove()
            lists = {path: maximum.d_c_sorted[path].numpy().T for path in case.paths}
            maximum._save_results()
            return lists

    return run


def semanticlens(case: Case, count: int) -> Callable[[], Lists]:
    """`ActivationComponentVisualizer.run`, nothing written. Its own mean takes in the CLS token and copies first, so it
    gets one of ours."""
    from semanticlens.component_visualization import ActivationComponentVisualizer

    model = case.model()
    dataset = Normalised(model, case.pictures(count))
    model.module.name = "model"

    def run() -> Lists:
        seeker = ActivationComponentVisualizer(
            model.module, dataset, dataset, list(case.paths), num_samples=K, aggregate_fn=pooled_mean
        )
        found = seeker.run(batch_size=BATCH)
        return {path: found[path].sample_ids.numpy() for path in case.paths}

    return run


def thingsvision(case: Case, count: int) -> Callable[[], Lists]:
    """Plain extraction, kept in memory, pooled while it extracts (`avg_pool`). It makes no lists: they are sorted of
    what it gives, outside of its time."""
    from thingsvision import get_extractor_from_model

    model = case.model()
    dataset = Normalised(model, case.pictures(count))
    extractor = get_extractor_from_model(model=model.module, device="cpu", backend="pt")
    extractor.token_extraction = "avg_pool"

    def run() -> Lists:
        batches = DataLoader(dataset, BATCH)
        return extractor.extract_features(batches=batches, module_names=list(case.paths), output_type="tensor")

    return run


def as_rows(lists: dict[str, np.ndarray | torch.Tensor]) -> Lists:
    """Rows as they are; values [n,f] sorted to rows."""
    return {
        path: each
        if isinstance(each, np.ndarray)
        else each.sort(dim=0, descending=True, stable=True).indices[:K].T.numpy()
        for path, each in lists.items()
    }


CASES = {
    "mini": Case("mini:supervised", tuple(range(6)), 4096, 128),
    "middle": Case(VIT, (5,), 256, 64),
    "all": Case(VIT, tuple(range(12)), 256, 64),
}
RUNS = {
    "conceptprobe": conceptprobe,
    "conceptprobe, from a script": conceptprobe,
    "zennit-crp": zennit_crp,
    "zennit-crp, no backward": zennit_crp_forward,
    "semanticlens": semanticlens,
    "thingsvision": thingsvision,
    "the whole forward": partial(bare, whole=True),
    "the forward to the last layer": partial(bare, whole=False),
}


def main() -> None:
    tool, case, images = sys.argv[1:]
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # the tools print what they do
        run = RUNS[tool](CASES[case], int(images))
        for line in sys.stdin:
            start = time.perf_counter()
            lists = run()
            seconds = time.perf_counter() - start
            np.savez(line.strip(), **as_rows(lists))
            print(json.dumps({"seconds": seconds}), file=out, flush=True)


if __name__ == "__main__":
    main()
