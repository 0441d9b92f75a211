import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.sets.from_index import concepts_of
from conceptprobe.concepts.sets.taxonomy import Taxonomy, imagenet
from conceptprobe.images import load_images


def table(**columns: list) -> pd.DataFrame:
    length = len(next(iter(columns.values())))
    return pd.DataFrame({"id": [f"{at}.png" for at in range(length)], **columns})


def of_mini(frame: pd.DataFrame) -> SimpleNamespace:
    """The parts of an index of the mini emoji that concepts are made of."""
    return SimpleNamespace(images=frame, manifest=SimpleNamespace(source={"spec": "mini:emoji/noto"}))


def edges_of(concepts: ConceptSet) -> set[tuple[str, str]]:
    return {(concepts.names[broader], concepts.names[narrower]) for broader, narrower in concepts.edges}


def leaves_of(concepts: ConceptSet) -> set[str]:
    return {concepts.names[at] for at in concepts.leaf_columns}


def kind_of(concepts: ConceptSet, name: str) -> str:
    return concepts.kinds[concepts.position(name)]


def test_labels_are_leaves_and_images_may_have_none() -> None:
    concepts = concepts_of(table(label=["cat", "dog", None, "cat", "", "dog", np.nan]))
    assert concepts.names == ("cat", "dog")
    assert leaves_of(concepts) == {"cat", "dog"}
    assert concepts.rows("cat").tolist() == [0, 3]
    assert concepts.rows("dog").tolist() == [1, 5]


def test_a_tag_called_like_a_label_holds_its_images_and_carries_its_kind() -> None:
    frame = table(
        label=["skull", "skull", "coffin", "coffin", "cat", "cat"],
        tags=[["death"], ["skull", "death"], ["skull", "death"], ["death"], ["cat", "cat"], None],
    )
    concepts = concepts_of(frame)
    assert concepts.rows("skull").tolist() == [0, 1]
    assert concepts.rows("tag:skull").tolist() == [0, 1, 2]
    assert concepts.rows("death").tolist() == [0, 1, 2, 3]
    assert concepts.aliases == {"cat": ("tag:cat",)}
    assert (kind_of(concepts, "skull"), kind_of(concepts, "tag:skull")) == ("label", "tag")
    assert leaves_of(concepts) == {"skull", "coffin", "cat"}


def test_nested_folders_make_broader_concepts() -> None:
    labels = ["animals/cats/tabby", "animals/cats/tabby", "animals/cats/siam", "animals/cats/siam", "animals", "cars"]
    concepts = concepts_of(table(label=[*labels, "cars", "animals/dogs", "animals/dogs"]))
    assert leaves_of(concepts) == {"animals/cats/tabby", "animals/cats/siam", "animals/dogs", "cars"}
    assert concepts.rows("animals/cats").tolist() == [0, 1, 2, 3]
    assert concepts.rows("animals").tolist() == [0, 1, 2, 3, 4, 7, 8]
    assert kind_of(concepts, "animals/cats") == "folder"
    assert ("animals", "animals/cats") in edges_of(concepts)
    assert ("animals/cats", "animals/cats/tabby") in edges_of(concepts)
    assert concepts.unplaced == ()


def test_columns_are_broader_where_they_hold_a_label_whole() -> None:
    frame = table(
        label=["skull", "skull", "ghost", "ghost", "cat", "cat", "flag", "flag", ""],
        subgroup=["bone", "bone", "fantasy", "fantasy", "pet", "pet", "pet", "x", "y"],
        group=["face", "face", "face", "face", "animal", "animal", None, "x", ""],
    )
    concepts = concepts_of(frame, "columns:subgroup, group")
    assert concepts.rows("face").tolist() == [0, 1, 2, 3]
    assert concepts.rows("pet").tolist() == [4, 5, 6]
    assert (kind_of(concepts, "face"), kind_of(concepts, "pet")) == ("group", "subgroup")
    assert edges_of(concepts) == {("face", "skull"), ("face", "ghost"), ("pet", "cat")}
    assert concepts.aliases == {"skull": ("bone",), "ghost": ("fantasy",), "cat": ("animal",)}
    assert leaves_of(concepts) == {"skull", "ghost", "cat", "flag"}


def test_mini_emoji_have_subgroups_and_groups_by_default() -> None:
    frame = load_images("mini:emoji").table.to_pandas()
    concepts = concepts_of(of_mini(frame))
    assert leaves_of(concepts) == set(frame["label"])
    skulls = frame.index[frame["label"] == "skull"].tolist()
    assert concepts.rows("skull").tolist() == skulls
    assert set(skulls) < set(concepts.rows("death")) < set(range(len(frame)))
    assert concepts.sizes[concepts.position("animals-nature")] == (frame["group"] == "animals-nature").sum()
    assert ("face-negative", "skull") in edges_of(concepts)
    assert {"label", "tag", "subgroup", "group"} == set(concepts.kinds)
    assert "subgroup" not in concepts_of(frame).kinds


def test_a_taxonomy_with_several_parents_and_uneven_depth() -> None:
    edges = (
        ("death", "skull"), ("bone", "skull"), ("death", "funeral"), ("funeral", "coffin"), ("funeral", "urn"),
        ("thing", "guitar"), ("thing", "bone"), ("unused", "nothing"),
    )  # fmt: skip
    labels = ["skull", "skull", "coffin", "coffin", "urn", "urn", "guitar", "guitar", "cat", "cat"]
    concepts = concepts_of(table(label=labels), Taxonomy(edges))
    assert concepts.rows("death").tolist() == [0, 1, 2, 3, 4, 5]
    assert concepts.rows("thing").tolist() == [0, 1, 6, 7]
    assert concepts.rows("funeral").tolist() == [2, 3, 4, 5]
    assert concepts.aliases == {"skull": ("bone",)}
    assert leaves_of(concepts) == {"skull", "coffin", "urn", "guitar", "cat"}
    assert edges_of(concepts) == {
        ("death", "skull"), ("death", "funeral"), ("funeral", "coffin"), ("funeral", "urn"), ("thing", "guitar"),
        ("thing", "skull"),
    }  # fmt: skip
    assert concepts.unplaced == ("cat",)
    assert "1 labels not in the taxonomy, such as cat" in repr(concepts)
    assert "unused" not in concepts.names


def test_a_label_above_another_holds_its_images_and_is_no_leaf() -> None:
    concepts = concepts_of(table(label=["dog", "poodle", "poodle", "cat", "cat"]), Taxonomy((("dog", "poodle"),)))
    assert concepts.rows("dog").tolist() == [0, 1, 2]
    assert leaves_of(concepts) == {"poodle", "cat"}
    assert kind_of(concepts, "dog") == "label"


def test_two_labels_of_one_node_are_one_concept() -> None:
    concepts = concepts_of(table(label=["train/n01440764", "val/n01440764", "val/n01443537"]), "imagenet", min_images=1)
    assert concepts.rows("tench").tolist() == [0, 1]
    assert concepts.position("train/n01440764") == concepts.position("val/n01440764") == concepts.position("tench")


def test_imagenet_membership_is_that_of_all_paths() -> None:
    tree = imagenet()
    nodes = np.random.default_rng(0).choice(tree.classes, 400)
    frame = table(label=nodes.tolist())
    concepts = concepts_of(frame, "imagenet", min_images=1)
    holders: dict[str, list[int]] = {}
    for row, node in enumerate(nodes):
        for above in tree.above(node):
            holders.setdefault(tree.shown[above], []).append(row)
    everywhere = {name for name, rows in holders.items() if len(rows) == len(nodes)}
    for name in holders.keys() - everywhere:
        assert concepts.rows(name).tolist() == holders[name]
    assert leaves_of(concepts) == {tree.shown[node] for node in nodes}
    assert "entity" in everywhere == set(concepts.dropped)


def test_a_taxonomy_file_over_tags_where_there_are_no_labels(tmp_path: Path) -> None:
    path = tmp_path / "themes.json"
    path.write_text(json.dumps([["music", "guitar"], ["music", "radio"]]))
    frame = table(tags=[["guitar"], ["guitar", "radio"], ["radio"], [], None, ["cat"], ["cat"]])
    concepts = concepts_of(frame, path)
    assert concepts.rows("music").tolist() == [0, 1, 2]
    assert leaves_of(concepts) == {"guitar", "radio", "cat"}
    assert kind_of(concepts, "guitar") == "tag"


def test_captions_stand_in_for_labels_and_join_them_when_asked() -> None:
    captions = ["two dogs on grass", "a dog", "a man with a guitar", None, "men in the grass"]
    concepts = concepts_of(table(caption=captions))
    assert {name: concepts.rows(name).tolist() for name in concepts.names} == {
        "dog": [0, 1], "grass": [0, 4], "man": [2, 4],
    }  # fmt: skip
    assert concepts.dropped == {"guitar": 1}
    labelled = table(label=["dog", "dog", "x", "x", "x"], caption=captions)
    assert set(concepts_of(labelled).kinds) == {"label"}
    both = concepts_of(labelled, captions=True)
    assert both.aliases == {"dog": ("caption:dog",)}
    assert kind_of(both, "grass") == "caption"
    assert set(concepts_of(table(label=["a", "a", "b"], caption=captions[:3]), captions=False).kinds) == {"label"}


class TestMasks:
    frame = table(label=["a", "a", "b", "b"])

    def test_a_folder_of_masks(self, tmp_path: Path) -> None:
        masks = {"sky": {0: 255, 1: 255, 2: 0}, "tree": {1: 1, 2: 7, 3: 1, 9: 1}}
        for name, values in masks.items():
            (tmp_path / name).mkdir()
            for at, value in values.items():
                Image.new("L", (2, 2), value).save(tmp_path / name / f"{at}.png")
        (tmp_path / "readme.txt").touch()
        concepts = concepts_of(self.frame, masks=tmp_path)
        assert concepts.rows("tree").tolist() == [1, 2, 3]
        assert kind_of(concepts, "tree") == "mask"
        assert concepts.aliases == {"a": ("sky",)}
        assert leaves_of(concepts) == {"a", "b"}

    def test_a_table_of_masks_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "masks.csv"
        path.write_text("id,concept\n0.png,sky\n3.png,sky\n0.png,sky\n1.png,tree\n2.png,tree\n0.png,tree\n8.png,tree\n")
        concepts = concepts_of(self.frame[["id"]], masks=path)
        assert concepts.rows("sky").tolist() == [0, 3]
        assert concepts.rows("tree").tolist() == [0, 1, 2]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("id,name\n0.png,sky\n", r"has no column 'concept'"),
            ("id,concept\nx.png,sky\n", r"none of its 1 masks is of one of the 4 images, whose ids are such as 0\.png"),
        ],
    )
    def test_bad_tables_are_refused(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "masks.csv").write_text(text)
        with pytest.raises(ConceptError, match=message):
            concepts_of(self.frame, masks=tmp_path / "masks.csv")

    def test_a_damaged_mask_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "sky").mkdir()
        (tmp_path / "sky" / "0.png").write_bytes(b"no image")
        with pytest.raises(ConceptError, match=r"the mask .*sky.0\.png cannot be read"):
            concepts_of(self.frame, masks=tmp_path)

    def test_a_missing_table_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConceptError, match=r"there is no folder or table of masks .*no\.csv"):
            concepts_of(self.frame, masks=tmp_path / "no.csv")


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"style": ["x", "y"]}, {}, r"nothing is known of what the 2 images show: .*\(columns: id, style\)"),
        ({"label": [None, None], "tags": [[], []]}, {}, r"nothing is known"),
        ({"label": ["cat"]}, {}, r"over 1 images can be tested \(cat: it has 1 image here\)"),
        ({"label": ["cat", "cat"]}, {}, r"cat: all 2 images are in it"),
        ({"label": ["a", "b", "c"]}, {}, r"none of 3 concepts over 3 images can be tested \(a: it has 1 image here; b"),
        (
            {"label": ["a", "a", "b"]},
            {"taxonomy": "imagenet"},
            r"none of the 2 labels, such as a, b, is in the taxonomy imagenet, whose",
        ),
        (
            {"label": ["a", "a", "b"]},
            {"taxonomy": "folders"},
            r"none of the 2 labels, such as a, b, is in .* folders, .* such as none",
        ),
        ({"label": ["a", "a", "b"]}, {"taxonomy": "columns:group"}, r"no column 'group', only id, label"),
        ({"label": ["a", "a", "b"]}, {"taxonomy": "wordnet"}, r"there is no taxonomy wordnet: give imagenet, folders"),
        ({"label": ["a", "a", "b"]}, {"captions": True}, r"no column `caption`, only id, label"),
        ({"caption": ["in the", "", None]}, {}, r"the 3 captions have no known English noun; one of them is 'in the'"),
    ],
)
def test_what_cannot_be_made_concepts_of_is_refused(columns: dict, options: dict, message: str) -> None:
    with pytest.raises(ConceptError, match=message):
        concepts_of(table(**columns), **options)


def test_an_edge_list_that_knows_no_label_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "edges.csv"
    path.write_text("broader,narrower\nmusic,guitar\n")
    with pytest.raises(
        ConceptError, match=r"none of the 1 labels, such as cat, is in .*edges\.csv, .* such as music, guitar"
    ):
        concepts_of(table(label=["cat", "cat", None]), path)
