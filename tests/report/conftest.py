"""Small indices without a model: chosen activations over coloured squares."""

import base64
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright

from conceptprobe.concepts.comparison.contrast import Contrast, contrast
from conceptprobe.concepts.scoring.scores import FeatureScores, score_features
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.images import ImageSource, load_images
from conceptprobe.indexing import Index, index_activations, open_index
from conceptprobe.probes.framework.result import ProbeResult, make_curves, make_differences
from conceptprobe.report import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LABELS = ("skull", "coffin", "guitar", "radio", "cat", "education")
TAGS = (("death", "face"), ("death",), ("music",), ("music",), ("animal",), ("school",))
STYLES = ("ink", "oil", "wax")


MakeIndex = Callable[..., Index]
NUMPY = {"u1": "u1", "u2": "<u2", "u4": "<u4", "i4": "<i4", "f4": "<f4"}


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 squares, `label/style.png`."""
    folder = tmp_path_factory.mktemp("squares")
    for i, label in enumerate(LABELS):
        (folder / label).mkdir()
        for j, style in enumerate(STYLES):
            Image.new("RGB", (40, 30), (40 * i, 80 * j, 120)).save(folder / label / f"{style}.png")
    return folder


@pytest.fixture(scope="session")
def make_source(tmp_path_factory: pytest.TempPathFactory, image_folder: Path) -> Callable[..., ImageSource]:
    """A function that makes a source of the squares, of which as much is known as is asked for."""

    def make(
        *,
        labels: Mapping[str, str | None] | None = None,
        tags: Mapping[str, Sequence[str]] | None = None,
        captions: Mapping[str, str] | None = None,
        ids: Mapping[str, str] | None = None,
        drop: Sequence[str] = (),
    ) -> ImageSource:
        places = [f"{label}/{style}.png" for label in sorted(LABELS) for style in STYLES]
        own = [place.partition("/")[0] for place in places]
        tags = dict(zip(LABELS, TAGS, strict=True)) if tags is None else tags
        table = {
            "id": [(ids or {}).get(place, place) for place in places],
            "label": [label if labels is None else labels[label] for label in own],
            "style": [place.partition("/")[2].removesuffix(".png") for place in places],
            "tags": [list(tags[label]) for label in own],
            "path": [str(image_folder / place) for place in places],
        }
        if captions is not None:
            table["caption"] = [captions.get(label, "") for label in own]
        file = tmp_path_factory.mktemp("source") / "images.parquet"
        pq.write_table(pa.table({name: column for name, column in table.items() if name not in drop}), file)
        return load_images(f"table:{file}")

    return make


@pytest.fixture(scope="session")
def make_index(tmp_path_factory: pytest.TempPathFactory, make_source: Callable[..., ImageSource]) -> MakeIndex:
    """A function that makes an index from activations [n,f] over the squares, the same ones for each layer."""

    def make(
        acts_nf: np.ndarray,
        *,
        spec: str = "mini:clip",
        layers: Sequence[str] = ("blocks.0.mlp.hidden",),
        k: int = 18,
        bottom: int = 0,
        vectors: bool = True,
        dead: Sequence[int] = (),
        source: ImageSource | None = None,
        **known: Any,
    ) -> Index:
        source = make_source(**known) if source is None else source
        acts_nf = np.array(acts_nf, np.float32)
        acts_nf[:, list(dead)] = 0
        root = tmp_path_factory.mktemp("index")
        options = {"model": spec, "k": k, "bottom": bottom, "vectors": vectors}
        index, *others = [
            index_activations(acts_nf, source, root / f"layer-{at}", layer=layer, **options)
            for at, layer in enumerate(layers)
        ]
        manifest = json.loads((index.path / "manifest.json").read_text())
        for other in others:
            (own,) = (other.path / "layers").iterdir()
            shutil.copytree(own, index.path / "layers" / own.name)
            manifest["layers"] |= other.manifest.to_json()["layers"]
        (index.path / "manifest.json").write_text(json.dumps(manifest))
        return open_index(index.path)

    return make


@pytest.fixture(scope="session")
def read_data() -> Callable[[Path, str], Any]:
    """A function that reads back the value of a data file of a report, with packed arrays as numpy's; -1 and NaN stand
    for what is missing."""

    def unpack(value: Any) -> Any:
        if isinstance(value, list):
            return [unpack(part) for part in value]
        if not isinstance(value, dict):
            return value
        if set(value) - {"none"} != {"t", "s", "d"}:
            return {name: unpack(part) for name, part in value.items()}
        array = np.frombuffer(base64.b64decode(value["d"]), NUMPY[value["t"]]).reshape(value["s"])
        if value["t"] == "f4":
            return array
        array = array.astype(np.int64)
        return np.where(array == value["none"], -1, array) if "none" in value else array

    def read(report: Path, key: str) -> Any:
        found = re.search(r'\nconceptprobe\.data\["(.*)"\] = (.*);\n$', (report / f"data/{key}.js").read_text(), re.S)
        assert found, key
        assert found[1] == key
        return unpack(json.loads(found[2]))

    return read


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium: the system's, else the one that `playwright install chromium` brings."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        if path is None and not Path(playwright.chromium.executable_path).exists():
            pytest.fail(
                f"no browser found, looked for {', '.join(BROWSERS)}: `apt-get install chromium`, "
                "or `playwright install chromium`"
            )
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context(offline=True, viewport={"width": 1400, "height": 900}) as context:
        yield context


@pytest.fixture
def visit(context: BrowserContext) -> Iterator[Callable[..., Page]]:
    """A function that opens a file, with a fragment, and waits for something on it.

    At the end of the test nothing may have gone wrong on any page: no error or warning in the console, no failed
    request, none that leaves the folder, no dialog.
    """
    wrong: list[str] = []

    def request_made(request: Request) -> None:
        if not request.url.startswith(("file:", "blob:")):
            wrong.append(f"request to {request.url}")

    def request_failed(request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page was left meanwhile
            wrong.append(f"failed: {request.url} ({request.failure})")

    def open_page(path: Path, fragment: str = "", ready: str = "main") -> Page:
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("requestfailed", request_failed)
        page.on("request", request_made)
        page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
        page.goto(path.as_uri() + fragment)
        page.wait_for_selector(ready)
        return page

    yield open_page
    assert wrong == []


@dataclass(frozen=True)
class World:
    """Two scored models over coloured squares, their contrast, and a report of all."""

    indices: tuple[Index, ...]
    scores: tuple[FeatureScores, ...]
    contrast: Contrast
    concepts: ConceptSet
    report: Path


@dataclass(frozen=True)
class Probed:
    """Results of probes, and a report that has them."""

    results: tuple[ProbeResult, ...]
    report: Path


OBJECTS, PER_OBJECT, BASE_FEATURES = 12, 8, 30


@pytest.fixture(scope="session")
def make_world(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., World]:
    """A function that makes a `World` of 12 objects with 8 images each, in 3 groups, with the names that are given.

    Of the 30 features of a layer, 0 to 5 respond to an object and 6 to 8 to a group, 9 to one object in the first model
    and another in the second, 29 to nothing, the others at random; all but 9 are nearly the same in both models. Those
    of `empty` have no finite activation, so no image. Files of `gone` are removed before the report is written.
    """

    def make(
        objects: Sequence[str],
        groups: Sequence[str],
        *,
        title: str,
        specs: Sequence[str],
        ids: Mapping[int, str] | None = None,
        empty: Sequence[int] = (),
        gone: Sequence[int] = (),
    ) -> World:
        root = tmp_path_factory.mktemp("world")
        source = make_squares(root, objects, groups, ids)
        concepts = group_objects(source, objects, groups)
        rng = np.random.default_rng(0)
        shared = rng.normal(0, 0.3, (OBJECTS * PER_OBJECT, BASE_FEATURES))
        indices = []
        for model, spec in enumerate(specs):
            acts_nf = shared + rng.normal(0, 0.05, shared.shape)
            for feature in (*range(6), 9):
                at = (10 + model if feature == 9 else feature) * PER_OBJECT
                acts_nf[at : at + PER_OBJECT, feature] += 4 + shared[at : at + PER_OBJECT, feature]
            for feature in range(6, 9):
                acts_nf[np.arange(len(acts_nf)) // PER_OBJECT % 3 == feature - 6, feature] += 4
            acts_nf[:, 29] = 0
            acts_nf[:, list(empty)] = np.nan
            parts = [
                index_activations(
                    acts_nf.astype(np.float32), source, root / f"{model}-{layer}",
                    layer=f"blocks.{layer}.mlp.hidden", model=spec, k=16,
                )
                for layer in range(2)
            ]  # fmt: skip
            indices.append(join_layers(parts))
        scores = tuple(score_features(index, concepts, 8, draws=2000, visual=None) for index in indices)
        between = contrast(*indices, scores=scores, concepts=concepts, resamples=4)
        for number in gone:
            (root / f"{number}.png").unlink()
        write_report(root / "report", indices, scores=scores, contrasts=[between], concepts=concepts, title=title)
        return World(tuple(indices), scores, between, concepts, root / "report")

    return make


def make_squares(
    root: Path, objects: Sequence[str], groups: Sequence[str], ids: Mapping[int, str] | None
) -> ImageSource:
    """8 squares of a colour for each object, labelled with it and tagged with its group."""
    rows: dict[str, list[Any]] = {"id": [], "label": [], "tags": [], "path": []}
    for number in range(OBJECTS * PER_OBJECT):
        kind, variant = divmod(number, PER_OBJECT)
        Image.new("RGB", (32, 24), (20 * kind, 30 * variant, 90)).save(root / f"{number}.png")
        rows["id"].append((ids or {}).get(number, f"{number:03d}"))
        rows["label"].append(objects[kind])
        rows["tags"].append([groups[kind % 3]])
        rows["path"].append(str(root / f"{number}.png"))
    pq.write_table(pa.table(rows), root / "images.parquet")
    return load_images(f"table:{root / 'images.parquet'}")


def group_objects(source: ImageSource, objects: Sequence[str], groups: Sequence[str]) -> ConceptSet:
    """Objects as leaves below their groups."""
    known = source.table.to_pandas()
    sets = {name: known["id"][known["label"] == name] for name in objects}
    sets |= {group: known["id"][[group in own for own in known["tags"]]] for group in groups}
    edges = [(groups[number % 3], name) for number, name in enumerate(objects)]
    return ConceptSet.from_sets(sets, known["id"].tolist(), leaves=list(objects), edges=edges)


def join_layers(parts: Sequence[Index]) -> Index:
    """One index of several that have a layer each."""
    first, *others = parts
    manifest = json.loads((first.path / "manifest.json").read_text())
    for other in others:
        (own,) = (other.path / "layers").iterdir()
        shutil.copytree(own, first.path / "layers" / own.name)
        manifest["layers"] |= other.manifest.to_json()["layers"]
    (first.path / "manifest.json").write_text(json.dumps(manifest))
    return open_index(first.path)


@pytest.fixture(scope="session")
def world(make_world: Callable[..., World]) -> World:
    objects = ("axe", "boat", "cat", "drum", "eel", "flute", "goat", "horn", "ibis", "jug", "kite", "lamp")
    return make_world(objects, ("tools", "animals", "music"), title="Squares", specs=("mini:clip", "mini:supervised"))


@pytest.fixture(scope="session")
def make_probe() -> Callable[..., ProbeResult]:
    """A function that makes the result of a probe that conceptprobe does not have: one metric over two series of
    several places, one over single ones, unchanged images, survival by verdict, pictures, and an image without a value.

    Models are given as spec and fingerprint; a name of `texts` stands for another one.
    """

    def make(
        models: Mapping[str, str],
        *,
        probe: str = "odd",
        layer: str = "blocks.1.mlp.hidden",
        texts: Mapping[str, str] | None = None,
        **known: Any,
    ) -> ProbeResult:
        def say(name: str) -> str:
            return (texts or {}).get(name, name)

        rng = np.random.default_rng(3)
        images = [say("image 0"), *(f"image {n}" for n in range(1, 24))]
        points = [("score", "clean", 0.0), *(("score", s, x) for s in ("bent", "torn") for x in (0.25, 0.5, 1.0))]
        points += [("flips", series, 0.0) for series in ("left", "right")]
        rows = [
            pd.DataFrame(
                {"model": spec, "metric": say(metric), "series": say(series) if series != "clean" else series, "x": x,
                 "draw": draw, "image": images, "value": np.where(np.arange(24) == 5, np.nan, rng.random(24) - x / 3)}
            )
            for spec in models
            for metric, series, x in points
            for draw in range(2)
        ]  # fmt: skip
        table = pd.concat(rows, ignore_index=True)
        verdicts = np.array(["object", "conceptual", "unresolved"], object)
        features, survival = [], []
        for spec in models:
            for series, x in (("bent", 0.25), ("bent", 1.0), ("left", 0.0)):
                own = pd.DataFrame(
                    {"model": spec, "layer": say(layer), "feature": np.arange(BASE_FEATURES),
                     "verdict": verdicts[np.arange(BASE_FEATURES) % 3], "series": say(series), "x": x,
                     "kept": rng.integers(0, 4, BASE_FEATURES) / 4, "r": rng.random(BASE_FEATURES)}
                )  # fmt: skip
                own.loc[29, ["kept", "r"]] = np.nan
                features.append(own)
                for measure in ("kept", "r"):
                    means = own.groupby("verdict")[measure].mean().to_dict()
                    means |= {"all": own[measure].mean(), "conceptual - object": means["conceptual"] - means["object"]}
                    survival += [
                        {"model": spec, "layer": say(layer), "verdict": name, "series": say(series), "x": x,
                         "measure": measure, "value": mean, "low": mean - 0.1, "high": mean + 0.1, "features": 10}
                        for name, mean in means.items()
                    ]  # fmt: skip
        maps = {say("heat"): rng.random((3, 6, 5), np.float32), say("photo"): rng.integers(0, 256, (3, 9, 9), np.uint8)}
        maps |= {"signed": rng.normal(size=(2, 3, 4, 4)), "vector": np.arange(5.0)}
        about = {
            "models": [
                {"spec": spec, "fingerprint": print_, "head": "zero-shot", "classes": 12, "layers": [layer]}
                for spec, print_ in models.items()
            ],
            "source": {"spec": say("table:images"), "fingerprint": "5" * 64}, "images": 24, "protocol": say("Us, 2026"),
            "axes": {"bent": say("share bent")}, "settings": {say("shares"): (0.25, 1.0)}, "pooling": "mean", "seed": 4,
            "versions": {"conceptprobe": "0.1.0"},
        }  # fmt: skip
        return ProbeResult(
            probe, say("How far does it bend?"), table, make_curves(table), make_differences(table),
            pd.concat(features, ignore_index=True), pd.DataFrame(survival),
            {f"{spec}/{name}": array for spec in models for name, array in maps.items()}, about | known,
            (say("Bent by hand."),),
            ({"name": say("Theirs"), "value": "70 %", "source": "Them 2020", "tag": "paper"},),
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def probed(world: World, make_probe: Callable[..., ProbeResult], tmp_path_factory: pytest.TempPathFactory) -> Probed:
    """The world's report with two probes: of its models, and of one of them beside a model that has no index here."""
    prints = {own.manifest.model.spec: own.manifest.model.fingerprint for own in world.indices}
    first = make_probe(prints)
    second = make_probe({"mini:supervised": prints["mini:supervised"], "far:away": "f" * 64})
    folder = tmp_path_factory.mktemp("probed") / "report"
    write_report(folder, world.indices, scores=world.scores, concepts=world.concepts, probes=[first, second])
    return Probed((first, second), folder)
