"""The concepts of a report: those that its features are explained by, and what each is."""

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
        names: Those of the family, in its order, then those that only scores know of.
        kinds: What each is.
        family: The sets of images; None where they cannot be had.
        models: Models that the family is of.
        sample: Rows of some images of each concept of the family, drawn at random, int64 [c,16]; -1 past the end.
        note: Why there are no sets of images; None where there are.
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
        """The number of each name, int64 [n]; -1 for None."""
        return np.fromiter((-1 if name is None else self.numbers[name] for name in names), np.int64, len(names))


def collect_concepts(models: Sequence[ReportModel], given: ConceptSet | None = None) -> ReportConcepts:
    """Find the sets of images that the scores are by: the ones given, else all that a source knows.

    Raises:
        ReportError: Given concepts are of other images than the first model's, or scores are by others.
    """
    if not models:
        return ReportConcepts((), (), None, frozenset(), np.empty((0, SAMPLE_IMAGES), np.int64))
    family, of, note = given, models[0], None
    if given is None:
        family, of, note = known_concepts(models)
    elif given.members_nc.shape[0] != len(of.index.images):
        raise ReportError(
            f"the concepts are over {given.members_nc.shape[0]} images, {of.index.path.name} has "
            f"{len(of.index.images)}: make them with concepts_of(index)"
        )
    own = frozenset[int]()
    if family is not None:
        own = frozenset(model.number for model in models if model.index.images["id"].equals(of.index.images["id"]))
        fingerprint = describe_concepts(family)["fingerprint"]
        for model in models:
            scores = model.scores
            if model.number in own and scores and scores.settings["concepts"]["fingerprint"] != fingerprint:
                note = (
                    f"the scores of {model.label} are by {scores.settings['concepts']['count']} concepts that are not "
                    f"the {len(family)} {'given' if given is not None else 'of its source'}: {REMEDY}"
                )
                if given is not None:
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
        order, tuple(kinds.get(name, "") for name in order), family, own if family is not None else frozenset(), sample,
        note,
    )  # fmt: skip


def known_concepts(models: Sequence[ReportModel]) -> tuple[ConceptSet | None, ReportModel, str | None]:
    """What the source of the first model knows that knows anything; else why there is nothing."""
    note = None
    for model in models:
        try:
            return concepts_of(model.index), model, None
        except ConceptError as error:
            note = note or str(error)
    return None, models[0], note


def sample_images(family: ConceptSet, seed: int = 0) -> np.ndarray:
    """Rows of up to 16 images of each concept, drawn at random, int64 [c,16]; -1 past the end."""
    columns = family.members_nc.tocsc()
    rank_n = np.random.default_rng(seed).permutation(columns.shape[0])
    sample = np.full((len(family), SAMPLE_IMAGES), -1)
    for concept in range(len(family)):
        rows = columns.indices[columns.indptr[concept] : columns.indptr[concept + 1]]
        chosen = rows[np.argsort(rank_n[rows], kind="stable")][:SAMPLE_IMAGES]
        sample[concept, : len(chosen)] = chosen
    return sample


def concepts_data(concepts: ReportConcepts, held_cm: np.ndarray, listed_cm: np.ndarray) -> Json:
    """Everything about the concepts but their images and features.

    Args:
        held_cm: Features of each model with a verdict that a concept is the subject of.
        listed_cm: Features of each model that have it among their first ones.
    """
    count, family = len(concepts), concepts.family
    kinds = Interner()
    unknown = count - (0 if family is None else len(family))
    sizes, information = np.full(count, -1), np.full(count, np.nan)
    leaf, at_leaf_level = np.zeros(count, bool), np.zeros(count, bool)
    parents: list[list[int]] = [[] for _ in range(count)]
    aliases: dict[str, list[str]] = {}
    if family is not None:
        own = slice(0, count - unknown)
        sizes[own], information[own] = family.sizes, family.information
        leaf[own], at_leaf_level[own] = family.is_leaf, family.at_leaf_level
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
    """The images and features of each concept.

    Args:
        sample_numbers: Gallery numbers of `concepts.sample`.
        tables: For each layer the number of its first feature, and its concept table.
    """
    rows = [
        (table.concept_ft.ravel(), np.repeat(np.arange(len(table.concept_ft)) + start, table.concept_ft.shape[1]),
         table.hits_ft.ravel(), table.llr_ft.ravel(), table.p_ft.ravel(), table.q_ft.ravel())
        for start, table in tables
    ]  # fmt: skip
    columns = [np.concatenate(own) for own in zip(*rows, strict=True)] or [np.empty(0)] * 6
    order = np.lexsort((columns[1], -columns[3], columns[0]))
    concept, feature, hits, llr, p, q = (column[order] for column in columns)
    edges = np.searchsorted(concept, np.arange(len(concepts) + 1))
    for at, first in enumerate(range(0, len(concepts), CONCEPT_CHUNK)):
        own = range(first, min(first + CONCEPT_CHUNK, len(concepts)))
        features = []
        for number_ in own:
            part = slice(edges[number_], min(edges[number_ + 1], edges[number_] + MOST_FEATURES))
            features.append(
                [
                    [f, h, number(ratio), number(own_p), number(own_q)]
                    for f, h, ratio, own_p, own_q in zip(
                        *(column[part].tolist() for column in (feature, hits, llr, p, q)), strict=True
                    )
                ]
            )
        images = [
            [n for n in sample_numbers[number_].tolist() if n >= 0] if number_ < len(sample_numbers) else []
            for number_ in own
        ]
        yield f"concepts/{at}", {"first": first, "count": len(own), "images": images, "features": features}
