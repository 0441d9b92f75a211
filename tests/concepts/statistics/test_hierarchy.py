import numpy as np
import pytest

from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.statistics.hierarchy import Relations

IMAGES = [f"i{n}" for n in range(1000)]


@pytest.fixture(scope="module")
def tree() -> ConceptSet:
    """Ten upper nodes of a hundred images, each of ten leaves; and a tag of one leaf of each of five upper nodes."""
    sets = {f"super {i}": IMAGES[100 * i : 100 * i + 100] for i in range(10)}
    sets |= {f"leaf {i}": IMAGES[10 * i : 10 * i + 10] for i in range(100)}
    sets["tag"] = [id_ for i in range(0, 50, 10) for id_ in sets[f"leaf {i}"]]
    return ConceptSet.from_sets(sets, IMAGES, leaves=[name for name in sets if name.startswith("leaf")])


@pytest.fixture(scope="module")
def relations(tree: ConceptSet) -> Relations:
    return Relations(tree)


def related(relations: Relations, name: str) -> set[str]:
    concepts = relations.concepts
    return {concepts.names[at] for at in relations.related(concepts.position(name))}


def test_relatives_of_a_leaf_are_what_holds_it_and_its_siblings_there(relations: Relations) -> None:
    # 2 log 10 / (2 log 100) is just the half that is asked for
    assert related(relations, "leaf 3") == {"super 0", *(f"leaf {i}" for i in range(10))}
    tagged = {f"leaf {i}" for i in range(0, 50, 10)}
    assert related(relations, "leaf 0") == {"super 0", "tag", *(f"leaf {i}" for i in range(10)), *tagged}


def test_relatives_of_broader_concepts(relations: Relations) -> None:
    assert related(relations, "super 9") == {"super 9", *(f"leaf {i}" for i in range(90, 100))}
    assert related(relations, "tag") == {"tag", *(f"leaf {i}" for i in range(0, 50, 10))}


def test_a_broad_common_node_does_not_relate() -> None:
    sets = {"a": IMAGES[:10], "b": IMAGES[10:20], "half": IMAGES[:500]}
    assert related(Relations(ConceptSet.from_sets(sets, IMAGES)), "a") == {"a", "half"}


def test_inside_equals_a_dense_look(relations: Relations) -> None:
    rng = np.random.default_rng(0)
    concept_f = rng.integers(-1, len(relations.concepts), 60)
    rows_fk = rng.integers(-1, 1000, (60, 12))
    dense_nc = relations.concepts.members_nc.toarray()
    expected = [
        [row >= 0 and concept >= 0 and dense_nc[row, concept] > 0 for row in rows]
        for rows, concept in zip(rows_fk, concept_f, strict=True)
    ]
    np.testing.assert_array_equal(relations.inside(rows_fk, concept_f), expected)


def test_spread_over_leaves(relations: Relations) -> None:
    spread = relations.spread(np.array([[0, 1, 10, 20], [0, 1, 2, 3], [0, 10, 20, -1], [-1, -1, -1, -1]]))
    entropy = -(0.5 * np.log(0.5) + 2 * 0.25 * np.log(0.25))
    np.testing.assert_allclose(spread.effective_f[:3], [np.exp(entropy), 1, 3])
    np.testing.assert_allclose(spread.largest_f[:3], [0.5, 1, 1 / 3])
    np.testing.assert_allclose(spread.information_f[:3], np.log(100))
    assert np.isnan(spread.effective_f[3])


def test_images_of_several_leaves_and_of_none() -> None:
    sets = {"a": IMAGES[:4], "b": IMAGES[3:8]}
    spread = Relations(ConceptSet.from_sets(sets, IMAGES, leaves=["a", "b"])).spread(
        np.array([[0, 3], [0, 50], [50, 51]])
    )
    parts = [np.array([0.75, 0.25]), np.array([0.5, 0.5]), np.array([0.5, 0.5])]
    np.testing.assert_allclose(spread.effective_f, [np.exp(-(p * np.log(p)).sum()) for p in parts])
    np.testing.assert_allclose(spread.largest_f, [0.75, 0.5, 0.5])
    a, b = np.log(1000 / 4), np.log(1000 / 5)
    np.testing.assert_allclose(spread.information_f, [0.75 * a + 0.25 * b, a, np.nan])


@pytest.mark.slow
def test_the_least_spread_of_a_concept_is_drawn_once_and_repeats(tree: ConceptSet) -> None:
    at = np.array([tree.position("super 2"), tree.position("tag"), tree.position("super 2")])
    hits = np.array([8, 5, 200])
    least = Relations(tree).least_effective(at, hits)
    np.testing.assert_array_equal(Relations(tree).least_effective(at[::-1], hits[::-1]), least[::-1])
    assert least[2] == pytest.approx(10)  # all its images
    rng = np.random.default_rng(9)
    drawn = [Relations(tree).spread(200 + rng.permutation(100)[None, :8]).effective_f[0] for _ in range(400)]
    assert 0 < np.mean(np.array(drawn) < least[0] - 1e-9) + 0.003 < 0.03
