"""What a report says of itself: what was run, what there is, and what to keep in mind."""

import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from conceptprobe.concepts.looks.method import describe_looks
from conceptprobe.concepts.scoring.verdicts import (
    EXAMPLE_TITLES,
    ONE_CONCEPT,
    POSITIVE,
    TESTED,
    VERDICTS,
    Verdict,
    counted_verdicts,
)
from conceptprobe.indexing import Index
from conceptprobe.report.collect.concepts import CONCEPT_CHUNK, ReportConcepts
from conceptprobe.report.collect.models import CHUNK, ReportModel
from conceptprobe.report.data.catalogue import Catalogue
from conceptprobe.report.data.commands import build_command, feature_cli, feature_python
from conceptprobe.report.data.probes import ReportProbe
from conceptprobe.report.pictures.gallery import IMAGE_CHUNK, Gallery
from conceptprobe.report.pictures.thumbnails import GRID
from conceptprobe.report.scripts import Json, number

EXAMPLES = 12
SCORE_SETTINGS = ("k", "q", "draws", "seed", "pooling", "scorer")
NAME_SETTINGS = ("scorer", "words", "k", "q", "templates", "test_images", "choosing_images")


@dataclass(frozen=True, eq=False)
class Contents:
    """What a report holds.

    Attributes:
        commands: What makes its results again.
        missing: Why images have no tile, in words.
        visualizations, other_visualizations: How many there are, and how many of them are of no feature of the report.
        contrasts: How many there are.
        mapped: The layers of each model with activation maps.
        whole_images: copy or link, where the whole images are there too.
        probes: What every page knows of each.
        date: When the last of it was finished, where that is known.
    """

    title: str
    commands: Sequence[str]
    missing: Sequence[str]
    visualizations: int
    other_visualizations: int
    contrasts: int
    mapped: Mapping[int, Sequence[str]]
    notes: Sequence[str]
    whole_images: str | None
    probes: Sequence[Json]
    date: str | None


def report_data(
    contents: Contents,
    models: Sequence[ReportModel],
    gallery: Gallery,
    concepts: ReportConcepts,
    catalogue: Catalogue,
) -> Json:
    """What every page reads first."""
    frame = gallery.frame
    has = {
        "scores": any(model.scores is not None for model in models),
        "names": any(model.names is not None for model in models),
        "concepts": len(concepts) > 0,
        "contrast": contents.contrasts,
        "visualizations": contents.visualizations,
        "other_visualizations": contents.other_visualizations,
        "maps": any(contents.mapped.values()),
        "labels": bool(frame["label"].notna().any()),
        "tags": bool((frame["tags"].str.len() > 0).any()),
        "full_images": contents.whole_images,
        "probes": len(contents.probes),
    }
    return {
        "schema": 2,
        "title": contents.title,
        "date": contents.date,
        "conceptprobe": importlib.metadata.version("conceptprobe"),
        "commands": list(contents.commands),
        "has": has,
        "counts": {"features": len(catalogue.frame), "images": len(frame), "concepts": len(concepts)},
        "chunk": CHUNK,
        "image_chunk": IMAGE_CHUNK,
        "concept_chunk": CONCEPT_CHUNK,
        "tiles": {"grid": GRID},
        "sources": [
            {"spec": key.spec, "fingerprint": key.fingerprint, "background": str(key.background)}
            for key in gallery.sources
        ],
        "models": [model_data(model, gallery, catalogue, contents.mapped.get(model.number, ())) for model in models],
        "probes": list(contents.probes),
        "verdicts": verdict_data(),
        "concepts_note": concepts.note,
        "missing": {"reasons": list(contents.missing)},
        "caveats": list(caveats(models, concepts, contents)),
        "examples": {verdict: examples(catalogue.frame, verdict) for verdict in EXAMPLE_TITLES},
    }


def model_data(model: ReportModel, gallery: Gallery, catalogue: Catalogue, mapped: Sequence[str]) -> Json:
    manifest = model.index.manifest
    scores = None if model.scores is None else model.scores.settings
    names = None if model.names is None else model.names.settings
    return {
        "key": model.key,
        "label": model.label,
        "spec": manifest.model.spec,
        "fingerprint": manifest.model.fingerprint,
        "source": gallery.source_of(model.index),
        "colour": model.number,
        "folder": model.index.path.name,
        "pooling": model.pooling,
        "poolings": list(manifest.pooling),
        "k": manifest.k,
        "bottom": manifest.bottom,
        "batch_size": manifest.batch_size,
        "counts": asdict(manifest.counts),
        "versions": dict(manifest.versions),
        "written": written_at(model.index),
        "build": build_command(model.index),
        "preprocessing": manifest.model.preprocessing,
        "scores": scores and pick(scores, SCORE_SETTINGS) | {
            "looks": describe_looks(scores["looks"]),
            "concepts": pick(scores["concepts"], ("count", "leaves", "kinds"))
        },
        "names": names and pick(names, NAME_SETTINGS),
        "table_k": model.table_k,
        "random": gallery.of_rows(model.number, gallery.random[model.number]).tolist(),
        "python": feature_python(model),
        "cli": feature_cli(model),
        "layers": [layer_data(model, layer, catalogue, layer in mapped) for layer in model.index.layers],
    }  # fmt: skip


def pick(settings: Mapping[str, Any], names: Sequence[str]) -> Json:
    return {name: settings[name] for name in names}


def layer_data(model: ReportModel, layer: str, catalogue: Catalogue, mapped: bool) -> Json:
    place, about = model.index.layers.index(layer), model.index.manifest.layers[layer]
    start, width = model.starts[layer], model.widths[layer]
    stats = model.index.stats(layer, model.pooling)
    scored = None
    if model.scores is not None and layer in model.scores.settings["layers"]:
        scored = model.scores.frame[model.scores.frame["layer"] == layer]
    return {
        "name": layer,
        "number": place,
        "depth": place / max(1, len(model.index.layers) - 1),
        "width": width,
        "kind": about.kind,
        "grid": about.grid,
        "start": start,
        "count": width,
        "high": {p: number(model.index.high_threshold(layer, p)) for p in model.index.manifest.pooling},
        "dead": int(stats["dead"].sum()),
        "tested": None if scored is None else int(scored["tested"].sum()),
        "verdicts": None if scored is None else count_verdicts(scored),
        "median_firing": number(float(stats["firing_rate"].median())),
        "maps": mapped,
    }


def count_verdicts(scores: pd.DataFrame) -> dict[str, int]:
    """Features of each verdict, as in `FeatureScores.summary`."""
    counts = counted_verdicts(scores).value_counts()
    return {verdict: int(counts.get(verdict, 0)) for verdict in VERDICTS}


def verdict_data() -> list[Json]:
    """The verdicts, in their order, and which groups each is in."""
    return [
        {
            "name": verdict, "glyph": verdict.glyph, "marker": verdict.marker, "explanation": verdict.explanation,
            "positive": verdict in POSITIVE, "one_concept": verdict in ONE_CONCEPT, "tested": verdict in TESTED,
        }
        for verdict in VERDICTS
    ]  # fmt: skip


def examples(frame: pd.DataFrame, verdict: Verdict) -> list[int]:
    """The features of a verdict with the largest log-likelihood ratios, no concept twice a model."""
    own = frame[frame["verdict"] == VERDICTS.index(verdict)].sort_values("llr", ascending=False, kind="stable")
    own = own.drop_duplicates(["model", "concept_0"])
    share = max(1, EXAMPLES // max(1, frame["model"].nunique()))
    chosen = own.groupby("model", sort=False).head(share)
    return [int(row) for row in chosen.index[:EXAMPLES]]


def written_at(index: Index) -> str:
    """When the index was finished; its files hold no date, so that the same build gives the same bytes."""
    return in_words(finished(index))


def written_last(models: Sequence[ReportModel], probes: Sequence[ReportProbe]) -> str | None:
    """When the last index or probe was finished; None where no time is known."""
    times = [finished(model.index) for model in models]
    times += [probe.written for probe in probes if probe.written is not None]
    return in_words(max(times)) if times else None


def finished(index: Index) -> float:
    return (index.path / "manifest.json").stat().st_mtime


def in_words(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def caveats(models: Sequence[ReportModel], concepts: ReportConcepts, contents: Contents) -> Iterator[str]:
    """What to keep in mind of this report, in plain words; what holds of every report is in the overview's template."""
    if concepts.family is not None:
        yield (
            "The concept table of a feature holds each concept against random images, one feature at a time. Only the "
            "verdict is also held against images that many features list and against images that look alike"
        )
    own: dict[str, list[str]] = {}
    for model in models:
        if model.scores is not None:
            settings = model.scores.settings
            q = (
                f"of the features called {', '.join(POSITIVE[:-1])} or {POSITIVE[-1]} in a layer, about "
                f"{settings['q']:.0%} are expected to be false discoveries"
            )
            for text in (q, f"whether images only look alike: {describe_looks(settings['looks'])}"):
                own.setdefault(text, []).append(model.label)
    for text, labels in own.items():
        yield f"{', '.join(labels)}: {text}"
    if any(model.names is not None for model in models):
        yield (
            "A name is chosen on one half of the images and tested on the other: its AUC is the probability that an "
            "image of the name activates the feature more than another image, 0.5 by chance"
        )
    yield from contents.notes
