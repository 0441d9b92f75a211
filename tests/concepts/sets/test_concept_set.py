import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.sets.concept_set import ConceptSet, minimal

IMAGES = [f"{letter}.png" for letter in "abcdefgh"]


def ids(letters: str) -> set[str]:
    return {f"{letter}.png" for letter in letters}


def animals() -> ConceptSet:
    sets = {"cat": ids("ab"), "dog": ids("cde"), "mammal": ids("abcde"), "bird": ids("fg"), "all": ids("abcdefgh")}
    return ConceptSet.from_sets(
        sets | {"kitten": ids("a"), "feline": ids("ab"), "small": ids("ad")},
        IMAGES,
        leaves=["cat", "dog", "bird"],
        edges=[("mammal", "feline"), ("feline", "cat"), ("mammal", "dog"), ("all", "mammal")],
        kinds={"cat": "label", "small": "tag"},
    )


def test_rows_are_those_of_the_images() -> None:
    concepts = animals()
    assert concepts.rows("dog").tolist() == [2, 3, 4]
    assert concepts.sizes[concepts.position("bird")] == 2
    assert concepts.information[concepts.position("dog")] == pytest.approx(math.log(8 / 3))
    assert concepts.members_nc.shape == (8, len(concepts))


def test_of_equal_sets_the_leaf_is_kept_and_the_other_is_its_alias() -> None:
    concepts = animals()
    assert concepts.aliases == {"cat": ("feline",)}
    assert concepts.position("feline") == concepts.position("cat")


def test_edges_lead_through_aliases_and_leave_out_what_is_dropped() -> None:
    concepts = animals()
    named = {(concepts.names[broader], concepts.names[narrower]) for broader, narrower in concepts.edges}
    assert named == {("mammal", "cat"), ("mammal", "dog")}


def test_what_cannot_be_tested_is_dropped_with_its_reason() -> None:
    concepts = animals()
    assert concepts.dropped == {"kitten": 1, "all": 8}
    with pytest.raises(ConceptError, match=r"no concept 'kitten': it has 1 image here"):
        concepts.position("kitten")
    with pytest.raises(ConceptError, match=r"no concept 'fish'; there are 5, such as cat, dog"):
        concepts.position("fish")


def test_leaf_level_are_leaves_and_what_lies_in_one() -> None:
    sets = {"cat": ids("abcd"), "dog": ids("efg"), "grey": ids("bc"), "small": ids("cde")}
    concepts = ConceptSet.from_sets(sets, IMAGES, leaves=["cat", "dog"])
    assert dict(zip(concepts.names, concepts.at_leaf_level, strict=True)) == {
        "cat": True, "dog": True, "grey": True, "small": False,
    }  # fmt: skip


def test_kinds_follow_their_concepts() -> None:
    concepts = animals()
    assert {name: concepts.kinds[concepts.position(name)] for name in ("cat", "dog", "small")} == {
        "cat": "label", "dog": "set", "small": "tag",
    }  # fmt: skip


def test_ids_of_other_images_do_not_count() -> None:
    concepts = ConceptSet.from_sets({"cat": ids("abz"), "dog": ids("xyz")}, IMAGES)
    assert concepts.rows("cat").tolist() == [0, 1]
    assert concepts.dropped == {"dog": 0}


def test_a_larger_least_size() -> None:
    concepts = ConceptSet.from_sets({"cat": ids("ab"), "dog": ids("cde")}, IMAGES, min_images=3)
    assert concepts.names == ("dog",)
    assert concepts.dropped == {"cat": 2}


def test_without_a_kept_leaf_the_smallest_sets_are_leaves() -> None:
    concepts = ConceptSet.from_sets(
        {"one": ids("a"), "cat": ids("ab"), "pet": ids("abc"), "dog": ids("de")}, IMAGES, leaves=["one"]
    )
    assert [concepts.names[at] for at in concepts.leaf_columns] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("sets", "options", "message"),
    [
        ({"cat": ids("xy")}, {}, r"no id of the 1 sets is one of the 8 image ids, such as 'a\.png'"),
        ({"cat": ids("a")}, {}, r"none of 1 concepts over 8 images can be tested \(cat: it has 1 image here\)"),
        ({"cat": ids("abcdefgh")}, {}, r"cat: all 8 images are in it"),
        ({}, {}, r"none of 0 concepts .*there are none"),
        ({"cat": ids("ab")}, {"leaves": ["dog"]}, r"1 leaves or ends of edges are not concepts, such as dog"),
        ({"cat": ids("ab")}, {"edges": [("pet", "cat")]}, r"1 leaves or ends of edges are not concepts, such as pet"),
        ({"cat": ids("ab"), "pet": ids("abc")}, {"edges": [("pet", "cat"), ("cat", "pet")]}, r"cycle"),
        ({"cat": ids("ab")}, {"min_images": 0}, r"min_images is 0"),
    ],
)
def test_bad_sets_are_refused(sets: dict[str, set[str]], options: dict, message: str) -> None:
    with pytest.raises(ConceptError, match=message):
        ConceptSet.from_sets(sets, IMAGES, **options)


def test_a_name_twice_is_refused() -> None:
    members = sparse.csr_array(np.eye(4, dtype=np.float32)[:, :2])
    with pytest.raises(ConceptError, match="1 names belong to several concepts, such as cat: rename"):
        ConceptSet.from_members(["cat", "cat"], members)


@given(st.lists(st.sets(st.integers(0, 7), min_size=1), min_size=1, max_size=8, unique_by=frozenset))
def test_minimal_sets_contain_no_other(sets: list[set[int]]) -> None:
    dense = np.array([[row in members for members in sets] for row in range(8)], np.float32)
    expected = [not any(other < members for other in sets) for members in sets]
    assert minimal(sparse.csr_array(dense)).tolist() == expected
