"""Score visualizations without people: do they activate their feature, only it, and say what it responds to?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from conceptprobe.images import ImagesLike, ImageSource, as_images
from conceptprobe.indexing.index import Index, IndexLike, as_index
from conceptprobe.indexing.source import source_of
from conceptprobe.intervals import bootstrap_interval, wilson_interval
from conceptprobe.models import ModelLike, VisionModel, as_model, load_model
from conceptprobe.search.embeddings import embed_images
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.evaluation.metrics import diversity, exemplar_choice, forced_choice
from conceptprobe.visualization.results.natural import BATCH, check_index, place, pooled_values, shares_below
from conceptprobe.visualization.results.visualizations import Visualizations

TOPS, CONTROLS, TOLERANCE = 5, 1000, 0.1
SHARES = ("exceeds", "first", "shuffled_exceeds", "shuffled_first")
MEANINGS = {
    "exceeds": "share above every natural image",
    "auc": "P(visualization > natural image)",
    "mad": "natural standard deviations above the natural mean",
    "first": "share where the target ranks first of its layer",
    "rank": "median rank of the target in its layer",
    "shuffled_exceeds": "exceeds, as if made for another feature of the list",
    "shuffled_auc": "auc, as if made for another feature of the list",
    "shuffled_first": "first, as if made for another feature of the list",
    "choice": "2AFC: encoder picks a top natural image over a random one",
    "shuffled_choice": "2AFC given the visualization of another feature of the list",
    "natural_choice": "2AFC given another top natural image",
    "diversity": "1 - SSIM between seeds at matched activation",
}
"""What each measure of an evaluation says; docs/visualization.md has the formulas."""


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """How well visualizations do.

    Attributes:
        frame: One row an image: target, layer, feature, pooling, seed, restart, member, activation, the measures of
            `MEANINGS` (rank and of as they are; diversity and pairs are of the target), NaN where one was not computed.
        summary: One row a measure: measure, value, low, high, n, meaning. Images of one target are averaged first; n
            is the number of targets. 95 % intervals over targets: Wilson's for shares, else a percentile bootstrap.
        settings: How they were made.
    """

    frame: pd.DataFrame
    summary: pd.DataFrame
    settings: dict[str, Any]

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        lines = [
            f"  {row.measure:17}{row.value:9.3f}  [{row.low:.3f}, {row.high:.3f}]  n {row.n}  {row.meaning}"
            for row in self.summary.itertuples()
        ]
        head = f"Evaluation({self.settings['model']} against {self.settings['index']}, {len(self)} images)"
        return "\n".join([head, *lines])

    def __getitem__(self, measure: str) -> float:
        """The value of a measure."""
        return float(self.summary.set_index("measure").loc[measure, "value"])


def evaluate(
    visualizations: Visualizations,
    index: IndexLike,
    encoder: VisionModel | str | None = None,
    *,
    model: ModelLike | None = None,
    images: ImagesLike | None = None,
    tops: int = TOPS,
    controls: int = CONTROLS,
    seed: int = 0,
    progress: bool = False,
) -> Evaluation:
    """Score visualizations of features against the natural images of an index.

    Args:
        visualizations: Those whose target is not one feature are left out.
        index: Of the same model, with their layers and poolings.
        encoder: Another model with an embedding, or its spec, that answers the forced choice; None leaves that out.
        model: The model; by default loaded by the spec in the records.
        images: Where the images of the index are now, if not where it was built from; only an encoder looks at them.
        tops: Top natural images of a feature that the forced choice uses.
        controls: Random natural images that it uses; of these, a feature's own top list is left out.
        seed: Where the random images and the bootstrap come from.
        progress: Show a bar while the encoder looks at images.

    Raises:
        VisualizeError: No target is a feature; the index is of another model or lacks a layer or pooling; or the
            encoder is the model itself.
    """
    index = as_index(index)
    model = None if model is None else as_model(model)
    images = None if images is None else as_images(images)
    rows = [i for i, record in enumerate(visualizations.records) if record.layer and record.feature is not None]
    if not rows:
        raise VisualizeError("none of the visualizations has one feature as its target, so there is nothing to score")
    if tops < 2 or controls < 1:
        raise VisualizeError(f"tops is {tops} and controls {controls}: they must be at least 2 and 1")
    chosen = visualizations[rows]
    specs = sorted({str(record.model["spec"]) for record in chosen.records})
    if len(specs) > 1:
        raise VisualizeError(f"the visualizations are of several models, {', '.join(specs)}: score one after the other")
    model = load_model(specs[0]) if model is None else model
    groups: dict[tuple[str, str], list[int]] = {}
    for row, record in enumerate(chosen.records):
        assert record.layer is not None, record
        check_index(index, model, record.layer, record.pooling)
        groups.setdefault((record.layer, str(record.pooling)), []).append(row)
    judge = load_model(encoder) if isinstance(encoder, str) else encoder
    if judge is not None and judge.fingerprint == model.fingerprint:
        raise VisualizeError(f"the encoder is {model.spec} itself: give an independent one, such as another model")

    columns = ("target", "layer", "feature", "pooling", "seed", "restart", "member")
    frame = pd.DataFrame([{name: getattr(record, name) for name in columns} for record in chosen.records])
    for (layer, pooling), members in groups.items():
        scored = _score(model, index, layer, pooling, chosen.images_nhwc[members], frame["feature"].iloc[members])
        frame.loc[members, scored.columns] = scored.to_numpy()
    if judge is not None:
        _choose(frame, chosen, index, groups, judge, images, tops, controls, np.random.default_rng([seed, 0]), progress)
    for _, part in frame.groupby("target"):
        own = part.index.to_numpy()
        value, pairs = diversity(chosen.images_nhwc[own], part["mad"].to_numpy(np.float64), TOLERANCE)
        frame.loc[own, ["diversity", "pairs"]] = value, pairs
    settings = {
        "model": model.spec, "index": index.path.name, "encoder": None if judge is None else judge.spec,
        "left_out": len(visualizations) - len(chosen), "tops": tops, "controls": controls, "tolerance": TOLERANCE,
        "seed": seed,
    }  # fmt: skip
    return Evaluation(frame, _summarise(frame, np.random.default_rng([seed, 1])), settings)


def _score(
    model: VisionModel, index: Index, layer: str, pooling: str, images_nhwc: np.ndarray, features: pd.Series
) -> pd.DataFrame:
    """Exceedance and specificity of images whose features are of one layer, and the same with features exchanged.

    AUC and MAD are CoSy's (Kopf et al. 2024) with one synthetic image against all natural ones. The exchange takes in
    every other feature of the list, which is the mean over all ways to shuffle them.
    """
    stats, features_n = index.stats(layer, pooling), features.to_numpy(np.int64)
    values_nf = pooled_values(model, images_nhwc, layer, pooling)
    maximum_f = stats["max"].to_numpy()
    listed_u = np.unique(features_n)

    def measures(rows_m: np.ndarray, features_m: np.ndarray) -> pd.DataFrame:
        values_m = values_nf[rows_m, features_m]
        places = place(stats, values_nf[rows_m], features_m)
        return pd.DataFrame(
            {
                "activation": values_m.astype(np.float64),
                "auc": shares_below(index, layer, pooling, features_m, values_m, ties=0.5)[0],
                "mad": places.z_n,
                "exceeds": (values_m > maximum_f[features_m]).astype(float),
                "rank": np.where(places.rank_n > 0, places.rank_n, np.nan),
                "of": places.of_n,
            }
        )

    result = measures(np.arange(len(features_n)), features_n)
    result["first"] = (result["rank"] == 1).astype(float)
    rows_m, places_m = np.nonzero(listed_u != features_n[:, None])
    if not len(rows_m):
        return result.assign(shuffled_exceeds=np.nan, shuffled_auc=np.nan, shuffled_first=np.nan)
    other = measures(rows_m, listed_u[places_m]).assign(first=lambda table: (table["rank"] == 1).astype(float))
    means = other.groupby(rows_m)[["exceeds", "auc", "first"]].mean()
    return result.join(means.add_prefix("shuffled_"))


def _choose(
    frame: pd.DataFrame,
    chosen: Visualizations,
    index: Index,
    groups: dict[tuple[str, str], list[int]],
    judge: VisionModel,
    images: ImageSource | None,
    tops: int,
    controls: int,
    rng: np.random.Generator,
    progress: bool,
) -> None:
    """Add the columns of the forced choice."""
    total = len(index.images)
    random_rows = np.sort(rng.choice(total, min(controls, total), replace=False))
    lists = {key: index.top_rows(*key)[0] for key in groups}
    own_rows = [lists[key][frame["feature"][row], :tops] for key, members in groups.items() for row in members]
    wanted = np.unique(np.concatenate([random_rows, *own_rows]))
    wanted = wanted[wanted >= 0]
    natural_nd = embed_images(judge, source_of(index, images), wanted, progress=progress)
    seen_nd = _embed(judge, chosen.images_nhwc)

    def natural(rows: np.ndarray) -> np.ndarray:
        return natural_nd[np.searchsorted(wanted, rows)]

    for key, members in groups.items():
        for row in members:
            feature = frame["feature"][row]
            list_k = lists[key][feature]
            targets_kd = natural(list_k[:tops][list_k[:tops] >= 0])
            controls_nd = natural(random_rows[~np.isin(random_rows, list_k)])
            if not len(targets_kd) or not len(controls_nd):
                continue
            others = [other for other in members if frame["feature"][other] != feature]
            shuffled = [forced_choice(seen_nd[other], targets_kd, controls_nd) for other in others]
            frame.loc[row, ["choice", "natural_choice", "shuffled_choice"]] = (
                forced_choice(seen_nd[row], targets_kd, controls_nd),
                exemplar_choice(targets_kd, controls_nd),
                np.mean(shuffled) if shuffled else np.nan,
            )


@torch.no_grad()
def _embed(judge: VisionModel, images_nhwc: np.ndarray) -> np.ndarray:
    """Embeddings float32 [n,d] of finished images, taken in as natural ones are."""
    pixels = [judge.preprocess(Image.fromarray(image)) for image in images_nhwc]
    parts = [torch.stack(pixels[start : start + BATCH]).to(judge.dtype) for start in range(0, len(pixels), BATCH)]
    return np.concatenate([judge.encode_image(part).float().cpu().numpy() for part in parts])


def _summarise(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for measure, meaning in MEANINGS.items():
        if measure not in frame or frame[measure].isna().all():
            continue
        values = frame.groupby("target", sort=False)[measure].mean().dropna().to_numpy(np.float64)
        value = float(np.median(values) if measure == "rank" else values.mean())
        statistic: Any = np.median if measure == "rank" else np.mean
        if measure in SHARES:
            low, high = wilson_interval(value, len(values))
        else:
            low, high = bootstrap_interval(values, statistic, rng)
        rows.append(
            {"measure": measure, "value": value, "low": low, "high": high, "n": len(values), "meaning": meaning}
        )
    return pd.DataFrame(rows)
