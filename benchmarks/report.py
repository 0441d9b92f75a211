"""How long a large report takes to write, how large it is, and how quick it is in a browser.

    python benchmarks/report.py [--quick] [--features 20000] [--keep FOLDER]

Two models of planted activations over the 12,359 embedded emoji: every feature is a GELU of a random linear map of what
an image is labelled, its subgroup, its style and noise, so that top images share labels and the thumbnails are of real
images. With scores, names and a contrast of full size; their values do not matter here, so the scores are made with few
draws, and the names and matches at random. Only `write_report` is timed.

In headless Chromium from file://: `usable` is the time from the request of a page until what it is for is there (the
first card; on the overview the last of its charts); `search` from a letter typed until the frame after the cards are
drawn, over queries of 3 to 12 letters, with and without mistakes, 100 ms after the answer to the letter before; `heap`
the largest size of the JavaScript heap, the document and the arrays beside it, looked at every few screens while the
explorer is scrolled from its top to its end, garbage included.
"""

import argparse
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from playwright.sync_api import Page, sync_playwright

from common import print_table
from conceptprobe.concepts.comparison.contrast import Contrast
from conceptprobe.concepts.comparison.coverage import Lists, concept_states
from conceptprobe.concepts.comparison.sides import MEASURES
from conceptprobe.concepts.naming.names import FeatureNames
from conceptprobe.concepts.scoring.scores import FeatureScores, score_features
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.sets.from_index import concepts_of
from conceptprobe.images import load_images
from conceptprobe.indexing import Index, index_activations
from conceptprobe.report import write_report

LAYER, K, SCORED_K, DRAWS = "planted", 20, 8, 1000
DIMENSIONS, BATCH = 48, 1024
BETWEEN_LETTERS = 100  # ms: few people type faster
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--enable-precise-memory-info"]
QUERIES = (
    "cat",
    "guitar",
    "gutiar",
    "face",
    "smiling",
    "smilng",
    "flag",
    "music",
    "hand",
    "planted:1234",
    "red heart",
    "openmoji",
)
SCROLL = """(y) => new Promise((done) => {
    scrollTo(0, y);
    requestAnimationFrame(() => requestAnimationFrame(done));
})"""


def activations(table: pd.DataFrame, features: int, seed: int) -> Iterator[np.ndarray]:
    """float32 [b,f] in the order of the images."""
    rng = np.random.default_rng(seed)
    codes = [table[name].astype("category").cat.codes.to_numpy() for name in ("label", "subgroup", "style")]
    points = sum(
        width * rng.standard_normal((own.max() + 1, DIMENSIONS))[own]
        for own, width in zip(codes, (1.0, 1.0, 0.4), strict=True)
    )
    weights = rng.standard_normal((DIMENSIONS, features)).astype(np.float32) / DIMENSIONS**0.5
    for start in range(0, len(table), BATCH):
        own = points[start : start + BATCH].astype(np.float32) @ weights
        own += 0.2 * rng.standard_normal(own.shape, np.float32) - 1.5
        yield own / (1 + np.exp(-1.702 * own))


def make_names(index: Index, family: ConceptSet, seed: int) -> FeatureNames:
    """Six names a feature, at random."""
    features, rng = index.manifest.layers[LAYER]["width"], np.random.default_rng(seed)
    words = np.array(family.names, object)
    frame = pd.DataFrame(
        {
            "layer": LAYER, "feature": np.repeat(np.arange(features), 6), "pooling": "mean",
            "source": np.tile(["concepts", *["words"] * 5], features), "rank": np.tile([1, 1, 2, 3, 4, 5], features),
            "word": words[rng.integers(len(words), size=6 * features)], "score": rng.random(6 * features),
            "auc": rng.random(6 * features), "p": rng.random(6 * features), "q": rng.random(6 * features),
            "abstained": rng.random(6 * features) < 0.2, "tested_on": "labels", "images": 7, "reason": "",
        }
    )  # fmt: skip
    manifest = index.manifest
    settings = {
        "model": manifest.model.spec, "source": manifest.source.spec, "scorer": "mini:clip", "words": len(words),
        "fingerprints": {"model": manifest.model.fingerprint, "source": manifest.source.fingerprint},
        "layers": [LAYER], "pooling": "mean", "k": K, "q": 0.05, "seed": 0, "templates": ["{}"], "test_images": 6000,
        "choosing_images": 6000,
    }  # fmt: skip
    return FeatureNames(frame, settings)


def make_contrast(indices: list[Index], scores: list[FeatureScores], seed: int) -> Contrast:
    """A contrast of full size, at random."""
    rng = np.random.default_rng(seed)
    features = indices[0].width(LAYER)
    names = [index.manifest.model.spec for index in indices]
    order = rng.permutation(features)
    sides = []
    for side, other in (("a", order), ("b", np.argsort(order))):
        own = {"side": side, "layer": LAYER, "feature": np.arange(features), "other_layer": LAYER}
        own |= {"other_feature": other, "mutual": True, "matched": rng.random(features) < 0.5}
        sides.append(
            pd.DataFrame(own | {name: rng.random(features) for name in ("r", "p_permuted", "p_mixture", "p", "q")})
        )
    rows = [(layer, measure) for layer in (LAYER, "all") for measure in MEASURES]
    columns = ("a", "b", "difference", "low", "high", "se", "se_images", "low_binomial", "high_binomial",
               "p", "q", "matched_difference", "matched_low", "matched_high", "matched_p")  # fmt: skip
    differences = pd.DataFrame(rows, columns=["layer", "measure"]).assign(
        model_a=names[0], model_b=names[1], **dict.fromkeys(columns, 0.1)
    )
    models = pd.concat(
        [
            pd.DataFrame(rows, columns=["layer", "measure"]).assign(
                model=name, value=0.1, low=0.05, high=0.15, counted=features, features=features, tested=features,
                dead=0, untested=0, clusters=features,
            )
            for name in names
        ]
    )  # fmt: skip
    concepts = pd.concat([held(index, own) for index, own in zip(indices, scores, strict=True)])
    settings = {
        "models": names, "layers": [[LAYER, LAYER]], "pooling": "mean", "k": SCORED_K, "q": 0.05,
        "images": len(indices[0].images), "source": "mini:emoji", "resamples": 100, "seed": 0,
        "scores": [own.settings for own in scores],
    }  # fmt: skip
    return Contrast(differences, models, concepts, pd.concat(sides).assign(model_b=names[1]), settings, ())


def held(index: Index, scores: FeatureScores) -> pd.DataFrame:
    """What a model holds, as a contrast says it."""
    lists = [Lists(index.lists(LAYER).rows[:, :SCORED_K], scores.frame)]
    return concept_states(index.manifest.model.spec, lists, concepts_of(index)).assign(power=0.5, sure=False)


def make_report(features: int, folder: Path) -> tuple[float, float]:
    """Make everything, and write the report; seconds of the latter, and of the processors meanwhile."""
    images = load_images("mini:emoji")
    table = images.table.to_pandas()
    indices = [
        index_activations(
            activations(table, features, seed), images, folder / name, layer=LAYER, model=f"planted:{name}", k=K
        )
        for seed, name in enumerate(("one", "two"))
    ]
    family = concepts_of(indices[0])
    scores = [score_features(index, family, SCORED_K, draws=DRAWS, visual=None) for index in indices]
    names = [make_names(index, family, seed) for seed, index in enumerate(indices)]
    contrasts = [make_contrast(indices, scores, 2)]
    start, used = time.perf_counter(), time.process_time()
    write_report(
        folder / "report", indices, scores=scores, names=names, contrasts=contrasts, concepts=family, progress=True
    )
    return time.perf_counter() - start, time.process_time() - used


def open_page(page: Page, address: str, ready: str) -> float:
    """Seconds until something is there that a selector finds."""
    start = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.wait_for_selector(ready, state="attached", timeout=120_000)
    return time.perf_counter() - start


def search_times(page: Page) -> np.ndarray:
    """Milliseconds of each letter typed, but for the first query, at which the ids are loaded."""
    measure = """async (text) => {
        const box = document.getElementById("q");
        const start = performance.now();
        box.value = text;
        box.dispatchEvent(new Event("input", {bubbles: true}));
        await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
        return performance.now() - start;
    }"""
    page.evaluate(measure, "ready")
    page.wait_for_timeout(3000)
    times = []
    for query in QUERIES:
        for end in range(3, len(query) + 1):
            times.append(page.evaluate(measure, query[:end]))
            page.wait_for_timeout(BETWEEN_LETTERS)
    return np.array(times)


def scroll_through(page: Page) -> tuple[float, float]:
    """The largest heap in MB while the explorer is scrolled to its end, and how far that was in 1,000 pixels."""
    session = page.context.new_cdp_session(page)
    largest, at = 0.0, 0
    height = page.evaluate("document.documentElement.scrollHeight")
    while at < height:
        at += 4000
        page.evaluate(
            SCROLL,
            at,
        )
        used = session.send("Runtime.getHeapUsage")
        parts = ("usedSize", "embedderHeapUsedSize", "backingStorageSize")
        largest = max(largest, sum(used.get(part, 0) for part in parts) / 1e6)
    return largest, height / 1000


def browse(report: Path) -> dict[str, float]:
    """What a browser does with it."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    found = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        context = browser.new_context(offline=True, viewport={"width": 1600, "height": 1000})
        errors: list[str] = []
        context.on("weberror", lambda error: errors.append(str(error.error)))
        context.new_page().goto("about:blank")
        for name, file, ready in (
            ("overview", "index.html", "main svg"), ("explorer", "explorer.html", ".card .tile"),
            ("feature", "feature.html#one/planted:77", "main .tile"),
        ):  # fmt: skip
            times = []
            for _ in range(3):
                page = context.new_page()
                times.append(
                    open_page(page, (report / file.partition("#")[0]).as_uri() + "#" + file.partition("#")[2], ready)
                )
                page.close()
            found[name] = float(np.median(times))
        page = context.new_page()
        open_page(page, (report / "explorer.html").as_uri(), ".card .tile")
        times = search_times(page)
        found["search"], found["search_worst"] = float(np.median(times)), float(times.max())
        page.close()
        page = context.new_page()
        open_page(page, (report / "explorer.html").as_uri(), ".card .tile")
        found["heap"], found["scrolled"] = scroll_through(page)
        assert not errors, errors
        browser.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2,000 features")
    parser.add_argument("--features", type=int, default=20_000)
    parser.add_argument("--keep", type=Path, help="where the report stays")
    given = parser.parse_args()
    features = 2000 if given.quick else given.features
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        seconds, processors = make_report(features, folder)
        files = [path for path in (folder / "report").rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files) / 1e6
        found = browse(folder / "report")
        if given.keep:
            shutil.rmtree(given.keep, ignore_errors=True)
            shutil.move(folder / "report", given.keep)
    print(f"{features:,} features x 2 models, k = {K}, 12,359 images; Python {platform.python_version()}\n")
    rows = [
        ("written", f"{seconds:.0f} s, {processors:.0f} s of processors", "180 s"),
        ("size on disk", f"{size:.0f} MB in {len(files):,} files", "600 MB"),
        *((f"{name} usable", f"{found[name]:.2f} s", "2 s") for name in ("overview", "explorer", "feature")),
        ("search, median", f"{found['search']:.0f} ms", "100 ms"),
        ("search, slowest", f"{found['search_worst']:.0f} ms", "100 ms"),
        (f"heap, {found['scrolled']:,.0f},000 px scrolled", f"{found['heap']:.0f} MB", "300 MB"),
    ]
    print_table([dict(zip(("what", "measured", "target"), row, strict=True)) for row in rows])


if __name__ == "__main__":
    main()
