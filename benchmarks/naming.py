"""Are names right? Names the outputs of a classifier, whose true names are known, and the same with images permuted.

python benchmarks/naming.py [--model mini:supervised] [--layer module:head] [--images mini:emoji] [--scorer mini:clip]
    [--template '{}'] [--index DIR]

CLIP-Dissect's table has 0.955 top-1 for the final layer of ResNet-50 over the 1,000 class names of ImageNet, on the
50,000 validation images. With those images and the weights at hand it is

    python benchmarks/naming.py --model timm:resnet50.tv_in1k --layer module:fc --images folder:imagenet/val \\
        --scorer open_clip:ViT-B-16@openai
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from scipy import sparse

from common import print_table
from conceptprobe.concepts.naming.names import FeatureNames, label_features
from conceptprobe.concepts.naming.soft_wpmi import MAX_LIST, best_words
from conceptprobe.concepts.naming.vocabulary import Vocabulary, read_words
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.sets.from_index import concepts_of
from conceptprobe.concepts.statistics.enrichment import Enrichment
from conceptprobe.images import load_images
from conceptprobe.indexing import Index, build_index, index_activations, open_index
from conceptprobe.indexing.source import source_of
from conceptprobe.models import load_model
from conceptprobe.search.embeddings import embed_images


def classes_of(index: Index, names: tuple[str, ...]) -> np.ndarray:
    """The class of every image, int64 [n]; -1 where it has none. Labels are names, or sort as the classes do."""
    labels = index.images["label"].astype(str)
    known = {name: number for number, name in enumerate(names)}
    if not labels.isin(known).any():
        known = {label: number for number, label in enumerate(sorted(labels.unique()))}
        assert len(known) == len(names), f"{len(known)} labels for {len(names)} classes, and no label is a class's name"
    return labels.map(known).fillna(-1).to_numpy(np.int64)


def zero_shot(images_nd: np.ndarray, vocabulary: Vocabulary, class_n: np.ndarray) -> tuple[float, float]:
    """Top-1 and top-5 accuracy of the scorer on single images."""
    good = np.flatnonzero(class_n >= 0)
    hits = np.zeros(2)
    for rows in np.array_split(good, max(1, len(good) // 4096)):
        scores = torch.tensor(images_nd[rows]) @ vocabulary.vectors_md.cpu().T
        own = scores.gather(1, torch.tensor(class_n[rows])[:, None])
        ranks = (scores > own).sum(1)
        hits += [float((ranks < k).sum()) for k in (1, 5)]
    first, five = hits / len(good)
    return first, five


def share_right(which: torch.Tensor, class_f: np.ndarray) -> tuple[float, float]:
    right = which.cpu().numpy() == class_f[:, None]
    return float(right[:, 0].mean()), float(right.any(1).mean())


def by_concepts(
    index: Index, layer: str, concepts: ConceptSet, class_n: np.ndarray, class_f: np.ndarray
) -> tuple[float, float]:
    """Shares of outputs whose best concept, on all images, is their class, and is that or a concept that holds it."""
    k = int(min(index.manifest.k, 40, max(8, np.median(concepts.sizes[concepts.is_leaf]))))
    best = Enrichment(concepts, k).best(index.top_rows(layer)[0][class_f, :k])
    columns = sparse.csc_array(concepts.members_nc)
    right, holds = [], []
    for number, at in zip(class_f, best.concept_f, strict=True):
        own = np.flatnonzero(class_n == number)
        found = columns.indices[columns.indptr[at] : columns.indptr[at + 1]] if at >= 0 else []
        right.append(np.array_equal(np.sort(found), own))
        holds.append(np.isin(own, found).all())
    return float(np.mean(right)), float(np.mean(holds))


def permuted(index: Index, layer: str, folder: str, seed: int = 0) -> Index:
    """The same activations, of other images: rows are permuted, for all features alike."""
    values_nf = index.activations(layer)
    order = np.random.default_rng(seed).permutation(len(values_nf))
    return index_activations(values_nf[order], source_of(index), Path(folder) / "permuted", layer=layer)


def describe(title: str, names: FeatureNames) -> list[dict[str, object]]:
    first = names.frame[(names.frame["rank"] == 1) & names.frame["auc"].notna()]
    return [
        {
            "activations": title, "names by": source, "tested": len(part), "median AUC": f"{part['auc'].median():.3f}",
            "AUC, 5 % to 95 %": " to ".join(f"{part['auc'].quantile(at):.3f}" for at in (0.05, 0.95)),
            "abstained": f"{part['abstained'].mean():.4f}",
        }
        for source, part in first.groupby("source", sort=False)
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini:supervised", help="a classifier that knows its class names")
    parser.add_argument("--layer", default="module:head", help="the layer of its logits")
    parser.add_argument("--images", default="mini:emoji", help="labelled by class name, or in the classes' order")
    parser.add_argument("--scorer", default="mini:clip")
    parser.add_argument("--template", action="append", help="by default the bare name, as in CLIP-Dissect")
    parser.add_argument("--index", help="where the index is, or is to be kept; else it is made for this run alone")
    given = parser.parse_args()
    templates = given.template or ["{}"]
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.index or f"{scratch}/index"
        model, scorer = load_model(given.model), load_model(given.scorer)
        if not Path(folder).exists():
            build_index(model, load_images(given.images), given.layer, folder, progress=True)
        index = open_index(folder)
        layer, class_n = given.layer, classes_of(index, model.class_names)
        vocabulary = read_words(scorer, model.class_names, templates)
        assert not vocabulary.unread, f"{given.scorer} cannot read {vocabulary.unread[:5]}"
        assert vocabulary.words == model.class_names, "class names repeat: give a model with one name a class"
        images_nd = embed_images(scorer, source_of(index), progress=True)
        class_f = np.intersect1d(np.arange(len(model.class_names)), class_n)
        device = vocabulary.vectors_md.device
        lists = torch.tensor(index.top_rows(layer)[0][:, :MAX_LIST], device=device)
        vectors = torch.tensor(np.array(images_nd), device=device)
        _, which = best_words(vectors, vocabulary.vectors_md, lists, 5)
        first, five = share_right(which[torch.tensor(class_f)], class_f)
        single, single_five = zero_shot(images_nd, vocabulary, class_n)
        concepts = concepts_of(index)
        leaves = np.flatnonzero(concepts.is_leaf)
        labels = ConceptSet.from_members([concepts.names[at] for at in leaves], concepts.members_nc[:, leaves])
        label, _ = by_concepts(index, layer, labels, class_n, class_f)
        concept, holder = by_concepts(index, layer, concepts, class_n, class_f)
        chance = 1 / len(vocabulary.words)
        print(f"{len(class_f)} outputs of {given.model} on {given.images}, scorer {given.scorer}\n")
        print_table(
            [
                {"named by": title, "top-1": f"{one:.4f}", "top-5": "" if more is None else f"{more:.4f}"}
                for title, one, more in (
                    ("chance", chance, 5 * chance),
                    ("the scorer, single images (zero-shot)", single, single_five),
                    (f"soft-WPMI, lists of {lists.shape[1]}", first, five),
                    ("best label, by its log-likelihood ratio", label, None),
                    ("best concept of all: the label", concept, None),
                    ("best concept of all: the label, or one that holds it", holder, None),
                )
            ]
        )
        names = label_features(index, model.class_names, scorer, layers=layer, templates=templates)
        other = permuted(index, layer, scratch)
        by_chance = label_features(other, model.class_names, scorer, layers=layer, templates=templates)
        print_table([*describe("as they are", names), *describe("permuted", by_chance)])


if __name__ == "__main__":
    main()
