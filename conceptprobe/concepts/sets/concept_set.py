"""Concepts: named sets of images that may overlap, some of which are leaves."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256

import numpy as np
from scipy import sparse

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.sets.taxonomy import refuse_cycle

MIN_IMAGES = 2


@dataclass(frozen=True, eq=False, repr=False)
class ConceptSet:
    """Concepts over the images of an index, in the order of the index; see `ConceptSet.from_sets` and `concepts_of`.

    Attributes:
        names: Name of each concept, unique.
        members_nc: Which image is in which concept, CSR of 0 and 1 (float32) [n,c].
        is_leaf: Declared leaves, bool [c]: the finest names there are, such as classes.
        edges: Pairs of positions (broader, narrower), int64 [e,2]; used only to show paths.
        kinds: Kind of each concept: label, taxonomy, folder, tag, caption, mask or set, or the column that it is a
            value of.
        aliases: Other names of each concept, by its name; concepts of exactly the same images are aliases of one.
        dropped: Number of images of each concept that cannot be tested, by its name: too few, or all.
        unplaced: Labels that are not in the taxonomy.
        options: Options of `conceptprobe score` that make these concepts again; empty for the default.
    """

    names: tuple[str, ...]
    members_nc: sparse.csr_array
    is_leaf: np.ndarray
    edges: np.ndarray
    kinds: tuple[str, ...]
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    unplaced: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        text = f"{len(self)} concepts over {self.members_nc.shape[0]} images, {int(self.is_leaf.sum())} leaves"
        if self.dropped:
            text += f", {len(self.dropped)} dropped"
        if self.unplaced:
            text += f", {len(self.unplaced)} labels not in the taxonomy, such as {', '.join(self.unplaced[:3])}"
        return f"ConceptSet({text})"

    @cached_property
    def sizes(self) -> np.ndarray:
        """Number of images of each concept, int64 [c]."""
        sizes: np.ndarray = np.asarray(self.members_nc.sum(0)).ravel().astype(np.int64)
        return sizes

    @cached_property
    def information(self) -> np.ndarray:
        """Information content -log(n_c / N) in nats, float64 [c] (Resnik 1995)."""
        return -np.log(self.sizes / self.members_nc.shape[0])

    @cached_property
    def leaf_columns(self) -> np.ndarray:
        """Positions of the leaves, int64 [l]."""
        return np.flatnonzero(self.is_leaf)

    @cached_property
    def at_leaf_level(self) -> np.ndarray:
        """Which concepts are leaves, or have all their images in one leaf, bool [c]."""
        leaves = self.members_nc[:, self.leaf_columns]
        shared = (self.members_nc.T @ leaves).tocsr() if len(self.leaf_columns) else sparse.csr_array((len(self), 0))
        largest = shared.max(axis=1).toarray().ravel() if shared.shape[1] else np.zeros(len(self))
        return self.is_leaf | (largest >= self.sizes)

    def position(self, name: str) -> int:
        """The position of the concept with a name or alias.

        Raises:
            ConceptError: No concept has it.
        """
        if (at := self._positions.get(name)) is not None:
            return at
        why = f": {why_dropped(self.dropped[name], self.members_nc.shape[0])}" if name in self.dropped else ""
        raise ConceptError(f"no concept {name!r}{why}; there are {len(self)}, such as {', '.join(self.names[:5])}")

    @cached_property
    def _positions(self) -> Mapping[str, int]:
        aliases = {alias: at for at, name in enumerate(self.names) for alias in self.aliases.get(name, ())}
        return aliases | {name: at for at, name in enumerate(self.names)}

    def rows(self, name: str) -> np.ndarray:
        """Rows of the images of the concept with a name or alias, ascending."""
        return np.flatnonzero(self.members_nc[:, [self.position(name)]].toarray().ravel())

    @classmethod
    def from_sets(
        cls,
        sets: Mapping[str, Iterable[str]],
        images: Sequence[str],
        *,
        leaves: Collection[str] | None = None,
        edges: Iterable[tuple[str, str]] = (),
        kinds: Mapping[str, str] | None = None,
        min_images: int = MIN_IMAGES,
    ) -> "ConceptSet":
        """Make concepts of named sets of image ids.

        Args:
            sets: Image ids of each concept; ids that are not among `images` are ignored.
            images: Image ids of the index, in its order.
            leaves: Names of the leaves; by default, or where no leaf is kept, the concepts that contain no other one.
            edges: Pairs of names (broader, narrower).
            kinds: Kind of each concept, by name; `set` by default.
            min_images: Concepts with fewer images are dropped.

        Raises:
            ConceptError: No concept has enough images without having all of them; a leaf or an edge names no concept;
                or the edges have a cycle.
        """
        row_of = {id_: row for row, id_ in enumerate(images)}
        columns = [
            np.unique(np.fromiter((row_of[id_] for id_ in ids if id_ in row_of), np.int64)) for ids in sets.values()
        ]
        indices = np.concatenate([np.empty(0, np.int64), *columns])
        if sets and not len(indices):
            some = ", ".join(map(repr, list(images)[:3]))
            raise ConceptError(f"no id of the {len(sets)} sets is one of the {len(images)} image ids, such as {some}")
        starts = np.concatenate([[0], np.cumsum([len(rows) for rows in columns])]).astype(np.int64)
        shape = (len(images), len(columns))
        members_nc = sparse.csc_array((np.ones(len(indices), np.float32), indices, starts), shape=shape)
        made = cls.from_members(
            list(sets),
            members_nc,
            leaves=leaves,
            edges=edges,
            kinds=[(kinds or {}).get(name, "set") for name in sets],
            min_images=min_images,
        )
        return replace(made, options=("--concepts", "CONCEPTS"))

    @classmethod
    def from_members(
        cls,
        names: Sequence[str],
        members_nc: sparse.sparray,
        *,
        leaves: Collection[str] | None = None,
        edges: Iterable[tuple[str, str]] = (),
        kinds: Sequence[str] | None = None,
        aliases: Mapping[str, Collection[str]] | None = None,
        unplaced: Sequence[str] = (),
        min_images: int = MIN_IMAGES,
    ) -> "ConceptSet":
        """Make concepts of a matrix of 0 and 1 [n,c]. Of equal sets a leaf is kept, else the first.

        Args:
            names: Name of each concept.
            members_nc: Which image is in which concept.
            leaves: See `from_sets`.
            edges: See `from_sets`.
            kinds: Kind of each concept; `set` by default.
            aliases: Other names of each concept, by its name.
            unplaced: Labels that are not in the taxonomy.
            min_images: See `from_sets`.

        Raises:
            ConceptError: Two concepts have the same name, min_images is below 1, and as for `from_sets`.
        """
        if min_images < 1:
            raise ConceptError(f"min_images is {min_images}: it must be at least 1")
        edges, known, leaf_names = list(edges), set(names), frozenset(leaves or ())
        if len(known) < len(names):
            twice = sorted(name for name, times in Counter(names).items() if times > 1)
            raise ConceptError(
                f"{len(twice)} names belong to several concepts, such as {', '.join(twice[:3])}: give each its name"
            )
        if unknown := sorted({*leaf_names, *(name for edge in edges for name in edge)} - known):
            raise ConceptError(
                f"{len(unknown)} leaves or ends of edges are not concepts, such as {', '.join(unknown[:3])}"
            )
        refuse_cycle(edges)
        columns = sparse.csc_array(members_nc, dtype=np.float32)
        columns.sort_indices()
        images = columns.shape[0]
        declared = np.array([name in leaf_names for name in names], bool)
        kept: dict[bytes, int] = {}
        others = {at: list((aliases or {}).get(name, ())) for at, name in enumerate(names)}
        dropped: dict[str, int] = {}
        for at in np.argsort(~declared, kind="stable").tolist():
            rows = columns.indices[columns.indptr[at] : columns.indptr[at + 1]]
            if not min_images <= len(rows) < images:
                dropped[names[at]] = len(rows)
            elif (first := kept.setdefault(sha256(rows).digest(), at)) != at:
                others[first] += [names[at], *others[at]]
        if not kept:
            some = "; ".join(f"{name}: {why_dropped(count, images)}" for name, count in list(dropped.items())[:3])
            raise ConceptError(
                f"none of {len(names)} concepts over {images} images can be tested ({some or 'there are none'}): a "
                f"concept needs {min_images} images, and images outside it. Give labels, tags, a taxonomy, or sets of "
                "image ids"
            )
        order = np.array(sorted(kept.values()))
        members = sparse.csr_array(columns[:, order])
        is_leaf = declared[order] if declared[order].any() else minimal(members)
        where = {alias: at for at, column in enumerate(order) for alias in (*others[column], names[column])}
        pairs = sorted({(where[a], where[b]) for a, b in edges if a in where and b in where and where[a] != where[b]})
        return cls(
            tuple(names[at] for at in order),
            members,
            is_leaf,
            np.array(pairs, np.int64).reshape(-1, 2),
            tuple(kinds[at] if kinds else "set" for at in order),
            {names[at]: tuple(others[at]) for at in order if others[at]},
            dropped,
            tuple(unplaced),
        )


def why_dropped(count: int, images: int) -> str:
    """The reason why a concept with `count` of the images cannot be tested, in words."""
    if count == images > 1:
        return f"all {images} images are in it"
    return f"it has {count} image{'s' if count != 1 else ''} here"


def minimal(members_nc: sparse.csr_array) -> np.ndarray:
    """Which concepts contain no other concept, bool [c]."""
    shared = sparse.coo_array(members_nc.T @ members_nc)
    sizes = np.asarray(members_nc.sum(0)).ravel()
    rows, columns = shared.coords
    contains = (shared.data >= sizes[columns]) & (rows != columns)
    result = np.ones(members_nc.shape[1], bool)
    result[rows[contains]] = False
    return result
