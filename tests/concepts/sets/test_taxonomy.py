import json
from pathlib import Path

import pytest
from open_clip import IMAGENET_CLASSNAMES
from timm.data import ImageNetInfo

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.sets.taxonomy import Taxonomy, folders, imagenet, read_taxonomy

DEATH = (("death", "funeral"), ("funeral", "coffin"), ("death", "skull"), ("bone", "skull"))


def test_above_is_all_paths_narrow_before_broad() -> None:
    tree = Taxonomy((*DEATH, ("end", "death"), ("end", "coffin")))
    assert set(tree.above("skull")) == {"skull", "death", "bone", "end"}
    assert tree.above("coffin") == ["coffin", "funeral", "death", "end"]


def test_a_cycle_is_named() -> None:
    with pytest.raises(ConceptError, match=r"cycle, (a > b > c > a|b > c > a > b|c > a > b > c), which"):
        Taxonomy((("top", "a"), ("a", "b"), ("b", "c"), ("c", "a")))


def test_a_node_below_itself_is_a_cycle() -> None:
    with pytest.raises(ConceptError, match="cycle, a > a,"):
        Taxonomy((("a", "a"),))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("edges.csv", "broader,narrower\n" + "\n".join(map(",".join, DEATH))),
        ("edges.csv", "\ufeffnote,narrower,broader\n" + "\n".join(f"x,{b},{a}" for a, b in DEATH)),
        ("edges.json", json.dumps(DEATH)),
        ("edges.json", json.dumps({"edges": DEATH})),
    ],
)
def test_edge_lists(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_taxonomy(tmp_path / name).edges == DEATH


def test_names_and_class_numbers(tmp_path: Path) -> None:
    path = tmp_path / "taxonomy.json"
    names = {"n1": ["crane (bird)", "crane"], "n2": ["crane (machine)", "crane"], "n3": "thing", "n4": ["Grus_grus"]}
    edges = [["n3", "n1"], ["n3", "n2"], ["n1", "n4"]]
    path.write_text(json.dumps({"names": names, "edges": edges, "classes": ["n2", "n1"]}))
    tree = read_taxonomy(path)
    assert tree.match(["0", "1", "7"]) == {"0": "n2", "1": "n1"}
    assert tree.match(["n1", "crane", "Crane (machine)", "birds/thing", "grus grus", "1"]) == {
        "n1": "n1", "Crane (machine)": "n2", "birds/thing": "n3", "grus grus": "n4",
    }  # fmt: skip


def test_nodes_of_the_same_name_show_their_ids() -> None:
    tree = Taxonomy((("a", "b"), ("a", "c")), names={"b": ("crane",), "c": ("crane",)})
    assert tree.shown == {"a": "a", "b": "crane (b)", "c": "crane (c)"}
    assert tree.match(["crane", "crane (c)", "b"]) == {"crane (c)": "c", "b": "b"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("no.csv", None, r"there is no taxonomy .*no\.csv: give imagenet, folders, columns:NAME"),
        ("edges.csv", "parent,child\na,b\n", r"not a taxonomy \(KeyError: 'broader'\)"),
        ("edges.csv", "broader,narrower\n", r"has no edges"),
        ("edges.csv", "broader,narrower\na\n", r"not a taxonomy \(ValueError: None is not a name\)"),
        ("edges.json", '[["a", " "]]', r"ValueError: ' ' is not a name"),
        ("edges.json", "{", r"not a taxonomy \(JSONDecodeError"),
        ("edges.json", '{"names": {}}', r"not a taxonomy \(KeyError: 'edges'\)"),
        ("edges.json", '[["a", "b", "c"]]', r"not a taxonomy \(ValueError"),
        ("edges.json", "7", r"not a taxonomy \(TypeError"),
        ("edges.csv", "broader,narrower\na,b\nb,a\n", r"cycle, (a > b > a|b > a > b)"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConceptError, match=message):
        read_taxonomy(tmp_path / name)


def test_folders_nest() -> None:
    tree = folders(["animals/cats/tabby", "animals/dogs", "plants"])
    assert tree.above("animals/cats/tabby") == ["animals/cats/tabby", "animals/cats", "animals"]
    assert set(tree.nodes) == {"animals/cats/tabby", "animals/cats", "animals/dogs", "animals"}


class TestImagenet:
    tree = imagenet()
    info = ImageNetInfo("imagenet-1k")

    def test_the_classes_are_leaves_in_timms_order(self) -> None:
        assert list(self.tree.classes) == self.info.label_names()
        assert not set(self.tree.classes) & {broader for broader, _ in self.tree.edges}
        assert len(self.tree.nodes) == 1860

    def test_every_class_is_an_entity(self) -> None:
        assert {self.tree.shown[self.tree.above(node)[-1]] for node in self.tree.classes} == {"entity"}
        assert [node for node in self.tree.nodes if node not in self.tree.parents] == ["n00001740"]

    @pytest.mark.parametrize(
        ("node", "chain"),
        [
            (
                "n01440764",
                "tench, cyprinid, cypriniform fish, soft-finned fish, teleost fish, bony fish, fish, "
                "aquatic vertebrate, vertebrate, chordate, animal, organism, living thing, whole, object, "
                "physical entity, entity",
            ),
            (
                "n02676566",
                "acoustic guitar, guitar, stringed instrument, musical instrument, device, instrumentality, artifact, "
                "whole, object, physical entity, entity",
            ),
        ],
    )
    def test_known_chains(self, node: str, chain: str) -> None:
        assert ", ".join(self.tree.shown[above] for above in self.tree.above(node)) == chain

    def test_some_nodes_have_several_broader_ones(self) -> None:
        several = {self.tree.shown[node] for node, parents in self.tree.parents.items() if len(parents) > 1}
        assert len(several) == 75
        assert {"dog", "tank"} <= several

    def test_names_are_unique(self) -> None:
        assert len(set(self.tree.shown.values())) == len(self.tree.nodes)

    @pytest.mark.parametrize("form", ["{}", "train/{}"])
    def test_labels_are_ids(self, form: str) -> None:
        labels = [form.format(node) for node in self.tree.classes]
        assert list(self.tree.match(labels).values()) == list(self.tree.classes)

    def test_labels_are_class_numbers(self) -> None:
        assert list(self.tree.match(map(str, range(1000))).values()) == list(self.tree.classes)

    def test_labels_are_names_as_open_clip_has_them(self) -> None:
        assert len(set(IMAGENET_CLASSNAMES)) == 998  # `missile` and `sunglasses` name two classes each
        found = self.tree.match(IMAGENET_CLASSNAMES)
        pairs = zip(IMAGENET_CLASSNAMES, self.tree.classes, strict=True)
        wrong = {name for name, node in pairs if found[name] != node}
        assert wrong == {"missile", "sunglasses"}

    def test_labels_are_names_as_timm_has_them(self) -> None:
        names = self.info.label_descriptions()
        found = self.tree.match(names)
        wrong = {name for name, node in zip(names, self.tree.classes, strict=True) if found.get(name) != node}
        assert wrong == {"crane"}  # the bird and the machine
        assert "crane" not in found

    def test_broader_names_are_labels_too(self) -> None:
        assert self.tree.match(["dog", "Musical_Instrument", "unheard of"]) == {
            "dog": "n02084071", "Musical_Instrument": "n03800933",
        }  # fmt: skip
