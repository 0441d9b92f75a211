"""The concepts of an index's images: labels, taxonomy nodes, tags, nouns of captions, and masks."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import pandas as pd
from scipy import sparse

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.sets.captions import nouns
from conceptprobe.concepts.sets.concept_set import MIN_IMAGES, ConceptSet
from conceptprobe.concepts.sets.masks import read_masks
from conceptprobe.concepts.sets.taxonomy import Taxonomy, folders, imagenet, read_taxonomy
from conceptprobe.indexing.index import IndexLike, as_index

DEFAULT_TAXONOMY = {"mini:emoji": "columns:subgroup,group"}

Edge = tuple[tuple[str, str], tuple[str, str]]  # (kind, name) of the broader and of the narrower concept


@dataclass(frozen=True)
class Family:
    """Concepts from one source, such as the labels.

    Attributes:
        names: Name of each concept, unique within its kind.
        kinds: Kind of each concept.
        members_nc: Which image is in which concept, CSR of 0 and 1 [n,c].
        leaves: Names of the leaves.
        edges: Which concept is directly broader than which.
        aliases: Other names of each concept, by its name.
        unplaced: Names that are not in the taxonomy.
    """

    names: Sequence[str]
    kinds: Sequence[str]
    members_nc: sparse.csr_array
    leaves: frozenset[str] = frozenset()
    edges: Sequence[Edge] = ()
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unplaced: Sequence[str] = ()


def concepts_of(
    index: IndexLike | pd.DataFrame,
    taxonomy: str | os.PathLike[str] | Taxonomy | None = None,
    *,
    captions: bool | None = None,
    masks: str | os.PathLike[str] | None = None,
    min_images: int = MIN_IMAGES,
) -> ConceptSet:
    """Make concepts of what an index knows of its images.

    Labels are the leaves. The nodes of the taxonomy are above them; tags, nouns of captions and masks are beside them.
    A tag with the name of a label also has the label's images. Where two concepts have the same name, the first keeps
    it and the other gets its kind as a prefix: `tag:skull` beside the label `skull`. A concept with exactly the images
    of another becomes an alias of it.

    Args:
        index: An index, or a table of images like `Index.images`.
        taxonomy: The concepts above the labels, or above the tags where there are no labels: `imagenet` (labels are
            WordNet ids, names or numbers of the classes), `folders` (labels are nested by `/`), a file (see
            `read_taxonomy`), or `columns:NAME,...` (columns of the image table, narrow to broad). By default `folders`
            where labels are nested, and `columns:subgroup,group` for `mini:emoji`.
        captions: Whether nouns of the captions are concepts; by default only where there are neither labels nor tags.
        masks: A folder or a table of masks (see `read_masks`).
        min_images: Concepts with fewer images are dropped.

    Raises:
        ConceptError: Nothing is known of the images, no concept can be tested, or the taxonomy does not fit.
    """
    index = index if isinstance(index, pd.DataFrame) else as_index(index)
    images = index if isinstance(index, pd.DataFrame) else index.images
    options = None if taxonomy is None else ("--taxonomy", _option(taxonomy))
    if taxonomy is None and not isinstance(index, pd.DataFrame):
        taxonomy = DEFAULT_TAXONOMY.get(index.manifest.source["spec"].partition("/")[0])
    labels = of_cells(images, "label", "label")
    tags = including(of_lists(images, "tags", "tag"), labels)
    families = [family for family in (replace(labels, leaves=frozenset(labels.names)), tags) if family.names]
    if captions or (captions is None and not families and "caption" in images):
        families.append(of_captions(images))
    if masks is not None:
        families.append(of_masks(images, masks))
    if isinstance(taxonomy, str) and taxonomy.startswith("columns:"):
        after_labels = 1 if labels.names else 0
        families[after_labels:after_labels] = of_columns(images, taxonomy)
    elif families:
        families[:1] = place_in_taxonomy(families[0], taxonomy)
    if not families:
        raise ConceptError(
            f"nothing is known of what the {len(images)} images show: none has a label, a tag or a caption (columns: "
            f"{', '.join(images.columns)}). Index them with class folders, a metadata.csv beside them or a table with "
            "such columns; or make your own concepts with ConceptSet.from_sets"
        )
    made = join_families(families, min_images)
    return made if options is None else replace(made, options=options)


def _option(taxonomy: str | os.PathLike[str] | Taxonomy) -> str:
    return "TAXONOMY" if isinstance(taxonomy, Taxonomy) else os.fspath(taxonomy)


def of_cells(images: pd.DataFrame, column: str, kind: str) -> Family:
    """A concept for each value of a column; no concepts where there is no such column."""
    cells = images[column] if column in images else pd.Series(index=images.index, dtype=object)
    rows = np.flatnonzero(cells.notna() & (cells != ""))
    return of_pairs(rows, cells.iloc[rows].astype(str).to_numpy(object), len(images), kind)


def of_lists(images: pd.DataFrame, column: str, kind: str) -> Family:
    """A concept for each entry of a column of lists."""
    cells = images.get(column, [])
    return of_entries([() if cell is None or isinstance(cell, float) else cell for cell in cells], len(images), kind)


def including(tags: Family, labels: Family) -> Family:
    """The tags; one with the name of a label also gets the label's images, since cats seldom have the tag `cat`."""
    columns = pd.Index(tags.names, dtype=object).get_indexer(pd.Index(labels.names, dtype=object))
    alike = np.flatnonzero(columns >= 0)
    same = zeros_and_ones(alike, columns[alike], (len(labels.names), len(tags.names)))
    members = tags.members_nc + labels.members_nc @ same
    members.data[:] = 1
    return replace(tags, members_nc=members)


def of_captions(images: pd.DataFrame) -> Family:
    """A concept for each noun of the captions.

    Raises:
        ConceptError: There are no captions, or no caption has a noun.
    """
    if "caption" not in images:
        raise ConceptError(f"the images have no column `caption`, only {', '.join(images.columns)}")
    captions = images["caption"].fillna("").to_numpy(object)
    nouns_n = [nouns(caption) for caption in captions]
    if not any(nouns_n):
        raise ConceptError(
            f"the {len(captions)} captions have no known English noun; one of them is {max(captions, key=len)!r}"
        )
    return of_entries(nouns_n, len(images), "caption")


def of_masks(images: pd.DataFrame, path: str | os.PathLike[str]) -> Family:
    """A concept for each name that the masks have."""
    rows, names = read_masks(path, images["id"])
    return of_pairs(rows, names, len(images), "mask")


def of_columns(images: pd.DataFrame, taxonomy: str) -> list[Family]:
    """The families of `columns:NAME,...`; a value is broader than one of the column before if it has all its images."""
    columns = [name.strip() for name in taxonomy.removeprefix("columns:").split(",")]
    if missing := [name for name in columns if name not in images]:
        raise ConceptError(f"{taxonomy}: the images have no column {missing[0]!r}, only {', '.join(images.columns)}")
    families = []
    for narrower, broader in zip(["label", *columns], columns, strict=False):
        edges: list[Edge] = []
        if narrower in images:
            pairs = images[[broader, narrower]].drop_duplicates()
            whole = pairs[~pairs.duplicated(narrower, keep=False)].replace("", None).dropna().astype(str)
            edges = [((broader, above), (narrower, below)) for above, below in whole.itertuples(index=False)]
        families.append(replace(of_cells(images, broader, broader), edges=edges))
    return families


def of_entries(lists: Sequence[Sequence[str]], images: int, kind: str) -> Family:
    """The family of lists of names, a list for each image."""
    rows = np.repeat(np.arange(len(lists)), [len(entries) for entries in lists])
    return of_pairs(rows, list(chain.from_iterable(lists)), images, kind)


def of_pairs(rows: np.ndarray, names: Sequence[str] | np.ndarray, images: int, kind: str) -> Family:
    """The family of pairs of an image's row and a name; pairs may repeat."""
    codes, unique = pd.factorize(np.asarray(names, object), sort=True)
    return Family(unique.tolist(), [kind] * len(unique), zeros_and_ones(rows, codes, (images, len(unique))))


def zeros_and_ones(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    """A matrix with 1 at these rows and columns, which may repeat; 32-bit indices halve its size."""
    coords = rows.astype(np.int32), columns.astype(np.int32)
    matrix = sparse.csr_array((np.ones(len(rows), np.float32), coords), shape=shape)
    matrix.data[:] = 1
    return matrix


def place_in_taxonomy(family: Family, taxonomy: str | os.PathLike[str] | Taxonomy | None) -> list[Family]:
    """Split a family into the concepts of a taxonomy, with all nodes above them, and the rest.

    Raises:
        ConceptError: None of the names is in the taxonomy.
    """
    kind = family.kinds[0]
    match taxonomy:
        case Taxonomy():
            tree = taxonomy
        case None | "folders":
            tree = folders(family.names)
        case "imagenet":
            tree = imagenet()
        case _:
            tree = read_taxonomy(taxonomy)
    node_of = tree.match(family.names)
    if not node_of:
        if taxonomy is None:
            return [family]
        raise ConceptError(
            f"none of the {len(family.names)} {kind}s, such as {', '.join(family.names[:3])}, is in the taxonomy "
            f"{taxonomy}, whose nodes are such as {', '.join(tree.nodes[:3]) or 'none'}"
        )
    above = [tree.above(node) for node in node_of.values()]
    columns, nodes = pd.factorize(np.array(list(chain.from_iterable(above)), object))
    rows = np.repeat(np.arange(len(above)), [len(nodes_above) for nodes_above in above])
    in_taxonomy = np.array([name in node_of for name in family.names])
    members = family.members_nc[:, in_taxonomy] @ zeros_and_ones(rows, columns, (len(above), len(nodes)))
    members.data[:] = 1
    named, broader = set(node_of.values()), {node for nodes_above in above for node in nodes_above[1:]}
    kind_of = {node: kind if node in named else tree.kind for node in nodes}
    key = {node: (kind_of[node], tree.shown[node]) for node in nodes}
    aliases: dict[str, list[str]] = {}
    for name, node in node_of.items():
        if name != tree.shown[node]:
            aliases.setdefault(tree.shown[node], []).append(name)
    rest = [name for name in family.names if name not in node_of]
    return [
        Family(
            [tree.shown[node] for node in nodes],
            [kind_of[node] for node in nodes],
            members,
            frozenset(tree.shown[node] for node in named - broader) if family.leaves else frozenset(),
            [(key[parent], key[node]) for node in nodes for parent in tree.parents.get(node, ())],
            aliases,
            () if tree.kind == "folder" else rest,
        ),
        Family(rest, [kind] * len(rest), family.members_nc[:, ~in_taxonomy], family.leaves & set(rest)),
    ]


def join_families(families: Sequence[Family], min_images: int) -> ConceptSet:
    """Make one set of all families; of concepts with the same name, the later ones get their kind as a prefix."""
    unique_names: dict[tuple[str, str], str] = {}
    taken: set[str] = set()
    leaves: set[str] = set()
    aliases: dict[str, Sequence[str]] = {}
    for family in families:
        for name, kind in zip(family.names, family.kinds, strict=True):
            unique = name
            while unique in taken:
                unique = f"{kind}:{unique}"
            taken.add(unique)
            unique_names[kind, name] = unique
            if name in family.leaves:
                leaves.add(unique)
            if name in family.aliases:
                aliases[unique] = family.aliases[name]
    edges = [
        (unique_names[broader], unique_names[narrower]) for family in families for broader, narrower in family.edges
    ]
    return ConceptSet.from_members(
        list(unique_names.values()),
        sparse.hstack([family.members_nc.tocsc() for family in families], format="csc"),
        leaves=leaves or None,
        edges=edges,
        kinds=[kind for family in families for kind in family.kinds],
        aliases=aliases,
        unplaced=[name for family in families for name in family.unplaced],
        min_images=min_images,
    )
