"""The concepts of a report: the sets of images that explain its features."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.scoring.run import describe_concepts
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.sets.from_index import concepts_of
from conceptprobe.display.text import shorten
from conceptprobe.report.collect.concept_tables import ConceptTable
from conceptprobe.report.collect.models import ReportModel
from conceptprobe.report.errors import ReportError
from conceptprobe.report.scripts import Interner, Json, floats, integers, number, packed

SAMPLE_IMAGES = 16
CONCEPT_CHUNK = 64
MOST_FEATURES = 100
REMEDY = "give the report the same --taxonomy or --concepts that the scores were made with"


@dataclass(frozen=True, eq=False)
class ReportConcepts:
    """The concepts of a report, numbered.

    Attributes:
        names: The names of the family, in its order, then those that occur only in scores.
        kinds: The kind of each concept.
        family: The sets of images; None if they are not known.
        models: The numbers of the models whose images the family covers.
        sample: Rows of random images of each concept of the family, int64 [c,16]; -1 past the end.
        note: Why the sets of images are not known; None if they are.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    family: ConceptSet | None
    models: frozenset[int]
    sample: np.ndarray
    note: str | None = None

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each name."""
        return {name: at for at, name in enumerate(self.names)}

    def positions(self, names: Sequence[str | None]) -> np.ndarray:
        """The numbers of several names, int64 [n]; -1 for None."""
        return np.fromiter((-1 if name is None else self.numbers[name] for name in names), np.int64, len(names))


def collect_concepts(models: Sequence[ReportModel], concepts: ConceptSet | None = None) -> ReportConcepts:
    """Find the concepts that the scores are based on.

    Args:
        models: The models of the report.
        concepts: The concepts; by default all that the image source knows.

    Raises:
        ReportError: The concepts cover other images than the first model, or scores are based on other concepts.
    """
    if not models:
        return ReportConcepts((), (), None, frozenset(), np.empty((0, SAMPLE_IMAGES), np.int64))
    family, of, note = concepts, models[0], None
    if concepts is None:
        family, of, note = known_concepts(models)
    elif concepts.members_nc.shape[0] != len(of.index.images):
        raise ReportError(
            f"the concepts cover {concepts.members_nc.shape[0]} images, but {of.index.path.name} has "
            f"{len(of.index.images)}: make them with concepts_of(index)"
        )
    covered = frozenset[int]()
    if family is not None:
        covered = frozenset(model.number for model in models if model.index.images["id"].equals(of.index.images["id"]))
        fingerprint = describe_concepts(family)["fingerprint"]
        for model in models:
            scores = model.scores
            if model.number in covered and scores and scores.settings["concepts"]["fingerprint"] != fingerprint:
                count, known = scores.settings["concepts"]["count"], "report" if concepts is not None else "source"
                note = (
                    f"the scores of {model.label} are based on {count} concepts that are not the {len(family)} of the "
                    f"{known}: {REMEDY}"
                )
                if concepts is not None:
                    raise ReportError(note)
                family = None
                break
    names = dict.fromkeys(() if family is None else family.names)
    kinds = dict(zip(names, () if family is None else family.kinds, strict=True))
    for model in models:
        if model.scores is not None:
            known = model.scores.frame.dropna(subset="concept").drop_duplicates("concept")
            kinds = dict(zip(known["concept"], known["kind"], strict=True)) | kinds
            names |= dict.fromkeys([*kinds, *model.scores.frame["second_concept"].dropna().unique()])
    sample = np.empty((0, SAMPLE_IMAGES), np.int64) if family is None else sample_images(family)
    order = tuple(names)
    return ReportConcepts(
        order, tuple(kinds.get(name, "") for name in order), family, covered if family is not None else frozenset(),
        sample, note,
    )  # fmt: skip


def known_concepts(models: Sequence[ReportModel]) -> tuple[ConceptSet | None, ReportModel, str | None]:
    """The concepts of the first model whose source knows any, and that model; else None and the reason."""
    note = None
    for model in models:
        try:
            return concepts_of(model.index), model, None
        except ConceptError as error:
            note = note or str(error)
    return None, models[0], note


def sample_images(family: ConceptSet, seed: int = 0) -> np.ndarray:
    """Draw rows of up to 16 random images of each concept, int64 [c,16]; -1 past the end."""
    columns = family.members_nc.tocsc()
    rank_n = np.random.default_rng(seed).permutation(columns.shape[0])
    sample = np.full((len(family), SAMPLE_IMAGES), -1)
    for concept in range(len(family)):
        rows = columns.indices[columns.indptr[concept] : columns.indptr[concept + 1]]
        chosen = rows[np.argsort(rank_n[rows], kind="stable")][:SAMPLE_IMAGES]
        sample[concept, : len(chosen)] = chosen
    return sample


def concepts_data(concepts: ReportConcepts, held_cm: np.ndarray, listed_cm: np.ndarray) -> Json:
    """The data of the concepts, without their images and features.

    Args:
        concepts: The concepts of the report.
        held_cm: The number of features of each model with a verdict for the concept, int64 [c,m].
        listed_cm: The number of features of each model that have the concept among their first ones, int64 [c,m].
    """
    count, family = len(concepts), concepts.family
    kinds = Interner()
    unknown = count - (0 if family is None else len(family))
    sizes, information = np.full(count, -1), np.full(count, np.nan)
    leaf, at_leaf_level = np.zeros(count, bool), np.zeros(count, bool)
    parents: list[list[int]] = [[] for _ in range(count)]
    aliases: dict[str, list[str]] = {}
    if family is not None:
        known = slice(0, count - unknown)
        sizes[known], information[known] = family.sizes, family.information
        leaf[known], at_leaf_level[known] = family.is_leaf, family.at_leaf_level
        for broader, narrower in family.edges.tolist():
            parents[narrower].append(broader)
        aliases = {
            str(concepts.numbers[name]): [shorten(alias) for alias in others] for name, others in family.aliases.items()
        }
    return {
        "name": [shorten(name) for name in concepts.names],
        "kind": integers(kinds.positions([kind or None for kind in concepts.kinds])),
        "kinds": kinds.values,
        "size": integers(sizes),
        "images": 0 if family is None else family.members_nc.shape[0],
        "leaf": packed(leaf, "u1"),
        "at_leaf_level": packed(at_leaf_level, "u1"),
        "information": floats(information),
        "parents": parents,
        "alias": aliases,
        "held": integers(held_cm),
        "listed": integers(listed_cm),
    }


def concept_chunks(
    concepts: ReportConcepts, sample_numbers: np.ndarray, tables: Sequence[tuple[int, ConceptTable]]
) -> Iterator[tuple[str, Json]]:
    """The images and features of each concept, 64 concepts a chunk.

    Args:
        concepts: The concepts of the report.
        sample_numbers: The numbers in the gallery of `concepts.sample`.
        tables: The number of the first feature and the concept table of each layer.
    """
    rows = [
        (table.concept_ft.ravel(), np.repeat(np.arange(len(table.concept_ft)) + start, table.concept_ft.shape[1]),
         table.hits_ft.ravel(), table.llr_ft.ravel(), table.p_ft.ravel(), table.q_ft.ravel())
        for start, table in tables
    ]  # fmt: skip
    columns = [np.concatenate(column) for column in zip(*rows, strict=True)] or [np.empty(0)] * 6
    order = np.lexsort((columns[1], -columns[3], columns[0]))
    concept, feature, hits, llr, p, q = (column[order] for column in columns)
    edges = np.searchsorted(concept, np.arange(len(concepts) + 1))
    for at, first in enumerate(range(0, len(concepts), CONCEPT_CHUNK)):
        numbers = range(first, min(first + CONCEPT_CHUNK, len(concepts)))
        features = []
        for number_ in numbers:
            entries = slice(edges[number_], min(edges[number_ + 1], edges[number_] + MOST_FEATURES))
            features.append(
                [
                    [f, h, number(ratio), number(p_value), number(q_value)]
                    for f, h, ratio, p_value, q_value in zip(
                        *(column[entries].tolist() for column in (feature, hits, llr, p, q)), strict=True
                    )
                ]
            )
        images = [
            [n for n in sample_numbers[number_].tolist() if n >= 0] if number_ < len(sample_numbers) else []
            for number_ in numbers
        ]
        yield f"concepts/{at}", {"first": first, "count": len(numbers), "images": images, "features": features}
