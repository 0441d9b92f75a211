"""Test whether the CLIP twin has features for death and for music, and the supervised twin none or fewer.

    conceptprobe index build indices/mini-clip.toml
    conceptprobe index build indices/mini-supervised.toml
    python recipes/survey/examples.py indices/mini-clip indices/mini-supervised

Ghiasi et al. (2022, arXiv 2212.06727) show a feature of CLIP for morbidity (skulls, tombstones, zombies) and one for
music, judged by eye. `themes.json` defines the two themes among the emoji; it was written from the names alone, before
any feature was seen.

Each feature's top 8 images are tested for one theme only, so the correction covers only the number of features:
Benjamini-Hochberg over all tested features of the model, against random lists and against images that many features
list. The p-value against lists that looks alone would produce is uncorrected: with 1,000 lists it is at least 0.001,
which is never significant after a correction for thousands of features. A feature is `found` if it passes the first two
tests at 0.05 and has p <= 0.05 in the third. A found feature is `thematic` if the theme explains its images better than
any single emoji. Sparse linear probes, tested on emoji to which they were not fitted, then show how well the last layer
encodes the theme.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from conceptprobe.concepts.comparison.clusters import redundancy_clusters
from conceptprobe.concepts.comparison.layer_pairs import feature_vectors
from conceptprobe.concepts.comparison.matched_difference import matched_difference, strata_of
from conceptprobe.concepts.scoring.localisation import localise
from conceptprobe.concepts.scoring.scores import score_features
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.sets.user_sets import read_sets, sets_of
from conceptprobe.concepts.statistics.enrichment import Enrichment
from conceptprobe.indexing import Index, open_index

THEMES = Path(__file__).parent / "themes.json"
K = 8
RATE = 0.05


@dataclass(frozen=True, eq=False)
class Example:
    """The tested features of a model for a theme.

    Attributes:
        model: The model's spec.
        theme: The theme.
        frame: One row for each tested feature: layer, feature, hits, p_random, q_random, p_hub, q_hub, p_visual, found,
            thematic, objects (number of the theme's emoji among its images), firing_rate, cluster.
    """

    model: str
    theme: str
    frame: pd.DataFrame

    @property
    def found(self) -> pd.DataFrame:
        """The features with `found`, the best first."""
        order = ["hits", "objects", "p_visual"]
        return self.frame[self.frame["found"]].sort_values(order, ascending=[False, False, True], kind="stable")


def examine(
    index: Index, theme: str, ids: Sequence[str], *, draws: int = 100_000, visual: np.ndarray | str | None = "auto"
) -> Example:
    """Test every feature of an index for one theme."""
    concepts = ConceptSet.from_sets({theme: ids}, index.images["id"])
    scores = score_features(index, concepts, K, draws=draws, visual=visual)
    frame = scores.frame[scores.frame["tested"]].reset_index(drop=True)
    for null in ("random", "hub"):
        frame[f"q_{null}"] = false_discovery_control(frame[f"p_{null}"])
    passes = (frame[["q_random", "q_hub"]] <= RATE).all(axis=1)
    frame["found"] = passes & ~(frame["p_visual"] > RATE)
    labels = index.images["label"].to_numpy()
    names = ConceptSet.from_sets(index.images.groupby("label")["id"].apply(list).to_dict(), index.images["id"])
    member_n = np.zeros(len(labels), bool)
    member_n[concepts.rows(theme)] = True
    rows = np.concatenate([index.top_rows(layer)[0][part["feature"], :K] for layer, part in by_layer(frame)])
    frame["thematic"] = frame["found"] & (frame["llr"] > Enrichment(names, K).best_llr(rows))
    frame["objects"] = [len(set(labels[top[member_n[top]]])) for top in rows]
    vectors = [feature_vectors(index, layer)[part["feature"]] for layer, part in by_layer(frame)]
    frame["cluster"] = redundancy_clusters(np.concatenate(vectors))
    columns = (
        "layer", "feature", "hits", "p_random", "q_random", "p_hub", "q_hub", "p_visual", "found", "thematic",
        "objects", "firing_rate", "cluster",
    )  # fmt: skip
    return Example(index.manifest.model.spec, theme, frame[list(columns)])


def by_layer(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each layer, in order."""
    return [(str(layer), part) for layer, part in frame.groupby("layer", sort=False)]


def p_of_difference(a: Example, b: Example, column: str, seed: int = 0) -> float:
    """Two-sided p-value of the difference between the models' shares of features with a property.

    The null distribution permutes the model labels of clusters of redundant features within strata of layer and firing
    rate.
    """
    frame = pd.concat([a.frame, b.frame], ignore_index=True)
    sign_f = np.repeat([1, -1], [len(a.frame), len(b.frame)])
    cluster_f = np.concatenate([a.frame["cluster"], b.frame["cluster"] + len(a.frame)])
    stratum_f = strata_of(frame["layer"].to_numpy(), frame["firing_rate"].to_numpy())
    value_f, rng = frame[column].to_numpy(float), np.random.default_rng(seed)
    return matched_difference(value_f, np.ones(len(frame)), sign_f, cluster_f, stratum_f, rng).p


def tell(examples: Mapping[str, tuple[Example, Example]]) -> None:
    """Print the result of each theme."""
    for theme, pair in examples.items():
        for example in pair:
            found, thematic = example.found, int(example.frame["thematic"].sum())
            best = example.frame.sort_values("hits", ascending=False, kind="stable").iloc[0]
            print(
                f"{theme}, {example.model}: {len(found)} of {len(example.frame)} features found, in "
                f"{found['cluster'].nunique()} clusters; {thematic} thematic; most hits {best.hits} of {K}"
            )
            for row in found.head(5).itertuples():
                print(
                    f"  {row.layer}:{row.feature}  {row.hits} of {K}, {row.objects} objects"
                    f"{', thematic' if row.thematic else ''}; random p {row.p_random:.1e} q {row.q_random:.2g}, "
                    f"hub p {row.p_hub:.1e} q {row.q_hub:.2g}, looks p {row.p_visual:.2g}"
                )
        print(
            f"{theme}: the models' shares differ with p {p_of_difference(*pair, 'found'):.2g} (found), "
            f"{p_of_difference(*pair, 'thematic'):.2g} (thematic)\n"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("indices", nargs=2, type=Path)
    indices = [open_index(path) for path in parser.parse_args(arguments).indices]
    themes = sets_of(read_sets(THEMES), indices[0].images)
    tell({theme: (examine(indices[0], theme, ids), examine(indices[1], theme, ids)) for theme, ids in themes.items()})
    for index in indices:
        layer = index.layers[-1]
        probes = localise(index, ConceptSet.from_sets(themes, index.images["id"]), layers=[layer]).frame
        for theme, part in probes.groupby("concept", sort=False):
            aucs = ", ".join(f"{row.auc:.2f} of {row.features}" for row in part.itertuples())
            print(f"{theme}, {index.manifest.model.spec}: AUC of linear probes by features of {layer}: {aucs}")


if __name__ == "__main__":
    main()
