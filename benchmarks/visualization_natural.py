"""Do visualizations activate their feature more than any natural image does, and it more than its neighbours?

    python benchmarks/visualization_natural.py mini        # mini:clip over the embedded emoji
    python benchmarks/visualization_natural.py dinov2      # DINOv2 ViT-S/14 at 112 x 112 pixels over the same

64 live features are drawn by seed 0 from `mlp.hidden` of the last third of the blocks, visualized by the default
preset for the objective `specific` (with --plain for their activation alone), saved as PNG, read again and scored
(docs/visualization.md). Targets: 90 % of the images above every indexed natural image, 75 % with the target ranked
first of its layer. The shuffled figures score each image as if it were made for another feature of the list.

The weights of DINOv2 are those that `python recipes/dinov2.py` prepares. The index is built where it is not there yet
(indices/mini-clip, indices/dinov2-emoji; the latter takes about ten minutes on two processors). Images that --out
already holds are not made again, so that an interrupted run goes on.
"""

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs

from common import print_table
from conceptprobe.feature import FeatureId
from conceptprobe.images import load_images
from conceptprobe.indexing import Index, build_index, open_index
from conceptprobe.models import VisionModel, load_model
from conceptprobe.visualization import feature, specific
from conceptprobe.visualization.evaluation.evaluation import Evaluation, evaluate
from conceptprobe.visualization.results.visualizations import load_visualizations
from conceptprobe.visualization.visualize import visualize

INDICES = Path(__file__).parent.parent / "indices"
TARGETS = {"exceeds": 0.9, "first": 0.75}


@dataclass(frozen=True)
class Case:
    """The name of an index over the emoji, and a model beside its own that answers the forced choice."""

    index: str
    encoder: str

    def spec(self) -> str:
        if self.index == "mini-clip":
            return "mini:clip"
        weights = Path(platformdirs.user_cache_dir("conceptprobe")) / "vit_small_patch14_dinov2.safetensors"
        return f"timm:vit_small_patch14_dinov2.lvd142m@{weights}#112"


CASES = {"mini": Case("mini-clip", "mini:supervised"), "dinov2": Case("dinov2-emoji", "mini:clip")}


def last_third(model: VisionModel) -> list[str]:
    """`mlp.hidden` of the last third of the blocks."""
    blocks = len(model.resolve("blocks.*.mlp.hidden"))
    return [layer.name for layer in model.resolve(f"blocks[-{math.ceil(blocks / 3)}:].mlp.hidden")]


def open_or_build(case: Case, model: VisionModel) -> Index:
    path = INDICES / case.index
    if path.exists():
        return open_index(path)
    return build_index(model, load_images("mini:emoji"), "blocks[-4:].mlp.hidden", path, progress=True)


def draw_features(index: Index, layers: list[str], count: int, seed: int = 0) -> list[FeatureId]:
    """Live features of some layers, in the order drawn: of the same seed, fewer are the first of more."""
    live = [
        FeatureId(layer, int(number))
        for layer in layers
        for number in np.flatnonzero(~index.stats(layer)["dead"].to_numpy())
    ]
    return [live[place] for place in np.random.default_rng(seed).permutation(len(live))[:count]]


def print_result(found: Evaluation, seconds: float) -> None:
    rows = []
    for row in found.summary().itertuples():
        target = TARGETS.get(str(row.measure))
        said = "" if target is None else f"{target:.2f}: {'met' if row.value >= target else 'MISSED'}"
        rows.append(
            {"measure": row.measure, "value": f"{row.value:.3f}", "95 %": f"{row.low:.3f} to {row.high:.3f}",
             "n": row.n, "target": said, "meaning": row.meaning}
        )  # fmt: skip
    about = found.settings
    print(f"{about['model']} against {about['index']}, encoder {about['encoder']}, visualized in {seconds:.0f} s")
    print_table(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--plain", action="store_true", help="maximise the activation alone")
    parser.add_argument("--preset", default="fourier")
    parser.add_argument("--steps", type=int, help="by default the preset's")
    parser.add_argument("--views", type=int, help="by default the preset's")
    parser.add_argument("--seed", type=int, default=0, help="of the visualizations; the features stay the same")
    parser.add_argument("--restarts", type=int, default=1, help="images of each feature; 2 for seed diversity")
    parser.add_argument("--out", type=Path, help="folder; by default visualizations/<case>, or <case>-plain")
    given = parser.parse_args()
    case = CASES[given.case]
    model = load_model(case.spec(), device="cpu")
    index = open_or_build(case, model)
    features = draw_features(index, last_third(model), given.features)
    out = given.out or INDICES.parent / "visualizations" / (given.case + "-plain" * given.plain)
    targets = [feature(each) if given.plain else specific(each, index) for each in features]
    start = time.perf_counter()
    visualize(
        model, targets, preset=given.preset, index=index, steps=given.steps, views=given.views, seed=given.seed,
        restarts=given.restarts, out=out, progress=True,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    print_result(evaluate(load_visualizations(out), index, case.encoder, model=model, progress=True), seconds)


if __name__ == "__main__":
    main()
