"""Which score of features for a text brings the right ones first? Every tag of the mini images is asked for.

python benchmarks/finding.py [--indices indices/mini-clip indices/mini-supervised] [--scorer mini:clip]

For each tag of 16 images or more: the share of the 10 top images that have the tag, for the first, the first 5 and the
first 20 features found; and how often the feature that is first most often is first.
"""

import argparse

import numpy as np
import torch

from common import print_table
from conceptprobe.concepts.naming.vocabulary import read_words
from conceptprobe.concepts.sets.from_index import concepts_of
from conceptprobe.indexing import open_index
from conceptprobe.indexing.source import source_of
from conceptprobe.indexing.storage.faiss_files import unit
from conceptprobe.models import load_model
from conceptprobe.search.embeddings import embed_images
from conceptprobe.search.features import LIST

LEAST = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--indices", nargs="+", default=["indices/mini-clip", "indices/mini-supervised"])
    parser.add_argument("--scorer", default="mini:clip")
    given = parser.parse_args()
    indices = [open_index(path) for path in given.indices]
    scorer, concepts = load_model(given.scorer), concepts_of(indices[0])
    lists = []
    for index in indices:
        for layer in index.layers:
            rows = index.top_rows(layer)[0][:, :LIST]
            lists.append(rows[~index.stats(layer)["dead"].to_numpy() & (rows >= 0).all(1)])
    rows_fk = np.concatenate(lists)
    tags = {
        name.removeprefix("tag:"): at
        for at, name in enumerate(concepts.names)
        if concepts.kinds[at] == "tag" and concepts.sizes[at] >= LEAST
    }
    vocabulary = read_words(scorer, list(tags))
    has_nq = concepts.members_nc[:, [tags[word] for word in vocabulary.words]].toarray()
    share_fq = np.stack([has_nq[column] for column in rows_fk.T]).mean(0)
    images_nd = embed_images(scorer, source_of(indices[0]), progress=True)
    text_qd = vocabulary.vectors_md.cpu().numpy()
    mean_fd = np.stack([images_nd[column] for column in rows_fk.T]).mean(0)
    listed = np.unique(rows_fk)
    similar_nq = images_nd @ text_qd.T
    z_nq = (similar_nq - similar_nq[listed].mean(0)) / similar_nq[listed].std(0)
    scores = {
        "mean cosine of the images": mean_fd @ text_qd.T,
        "cosine of the mean embedding": unit(mean_fd) @ text_qd.T,
        "the same, minus the mean of all images": unit(mean_fd - images_nd[listed].mean(0)) @ text_qd.T,
        "the same, text minus the mean text": unit(mean_fd - images_nd[listed].mean(0))
        @ unit(text_qd - text_qd.mean(0)).T,
        **{
            f"log(mean exp({sharp} z)) / {sharp}": np.log(np.mean([np.exp(sharp * z_nq[c]) for c in rows_fk.T], 0))
            / sharp
            for sharp in (1, 2, 3, 4)
        },
    }
    print(f"{len(rows_fk)} features, {len(vocabulary.words)} tags; by chance {has_nq.mean():.4f}\n")
    result = []
    for title, score_fq in [*scores.items(), ("best possible", share_fq)]:
        order = torch.from_numpy(-score_fq).sort(dim=0, stable=True).indices.numpy()
        first = [np.take_along_axis(share_fq, order[:k], 0).mean() for k in (1, 5, 20)]
        wins = np.bincount(order[0]).max()
        shares = dict(zip(("first", "first 5", "first 20"), (f"{value:.3f}" for value in first), strict=True))
        result.append({"score": title, **shares, "most often first": wins})
    print_table(result)


if __name__ == "__main__":
    main()
