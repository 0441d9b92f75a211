"""The data that every page reads first: what was run, what the report holds, and its caveats."""

import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from conceptprobe.report.collect.probes import ReportProbe
from conceptprobe.report.data.catalogue import Catalogue
from conceptprobe.report.data.commands import build_command, feature_cli, feature_python
from conceptprobe.report.data.maps import Maps
from conceptprobe.report.pictures.gallery import IMAGE_CHUNK, Gallery
from conceptprobe.report.pictures.thumbnails import GRID
from conceptprobe.report.scripts import Json, number
from conceptprobe.report.settings import ReportSettings

EXAMPLES = 12
SCORE_SETTINGS = ("k", "q", "draws", "seed", "pooling", "scorer")
NAME_SETTINGS = ("scorer", "words", "k", "q", "templates", "test_images", "choosing_images")


@dataclass(frozen=True, eq=False)
class Contents:
    """What was written into a report beside its features.

    Attributes:
        commands: The commands that reproduce the report.
        missing: Why images have no tile, in words.
        visualizations: The number of visualizations.
        other_visualizations: The number of those that target no feature of the report.
        contrasts: The number of contrasts.
        maps: The layers of each model with activation maps, and why others have none.
        probes: The summary of each probe.
        date: When the last index or probe was finished, if that is known.
    """

    commands: Sequence[str]
    missing: Sequence[str]
    visualizations: int
    other_visualizations: int
    contrasts: int
    maps: Maps
    probes: Sequence[Json]
    date: str | None


def report_data(
    settings: ReportSettings,
    contents: Contents,
    models: Sequence[ReportModel],
    gallery: Gallery,
    concepts: ReportConcepts,
    catalogue: Catalogue,
) -> Json:
    """The data that every page reads first."""
    frame = gallery.frame
    has = {
        "scores": any(model.scores is not None for model in models),
        "names": any(model.names is not None for model in models),
        "concepts": len(concepts) > 0,
        "contrast": contents.contrasts,
        "visualizations": contents.visualizations,
        "other_visualizations": contents.other_visualizations,
        "maps": any(contents.maps.layers.values()),
        "labels": bool(frame["label"].notna().any()),
        "tags": bool((frame["tags"].str.len() > 0).any()),
        "full_images": None if settings.images == "thumbs" else settings.images,
        "probes": len(contents.probes),
    }
    return {
        "schema": 2,
        "title": settings.title,
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
        "models": [
            model_data(model, gallery, catalogue, contents.maps.layers.get(model.number, ())) for model in models
        ],
        "probes": list(contents.probes),
        "verdicts": verdict_data(),
        "concepts_note": concepts.note,
        "missing": {"reasons": list(contents.missing)},
        "caveats": list(caveats(models, concepts, contents)),
        "examples": {verdict: examples(catalogue.frame, verdict) for verdict in EXAMPLE_TITLES},
    }


def model_data(model: ReportModel, gallery: Gallery, catalogue: Catalogue, mapped: Sequence[str]) -> Json:
    """The data of a model; `mapped` has its layers with activation maps."""
    manifest = model.index.manifest
    scores = None if model.scores is None else model.scores.settings
    names = None if model.names is None else model.names.settings
    return {
        "key": model.key,
        "label": model.label,
        "spec": manifest.model["spec"],
        "fingerprint": manifest.model["fingerprint"],
        "source": gallery.source_of(model.index),
        "colour": model.number,
        "folder": model.index.path.name,
        "pooling": model.pooling,
        "poolings": list(manifest.pooling),
        "k": manifest.k,
        "bottom": manifest.bottom,
        "batch_size": manifest.batch_size,
        "counts": dict(manifest.counts),
        "versions": dict(manifest.versions),
        "written": written_at(model.index),
        "build": build_command(model.index),
        "preprocessing": manifest.model["preprocessing"],
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
    """Some of the settings, by name."""
    return {name: settings[name] for name in names}


def layer_data(model: ReportModel, layer: str, catalogue: Catalogue, mapped: bool) -> Json:
    """The data of a layer; `mapped` says whether it has activation maps."""
    position, about = model.index.layers.index(layer), model.index.manifest.layers[layer]
    start, width = model.starts[layer], model.widths[layer]
    stats = model.index.stats(layer, model.pooling)
    scored = None
    if model.scores is not None and layer in model.scores.settings["layers"]:
        scored = model.scores.frame[model.scores.frame["layer"] == layer]
    return {
        "name": layer,
        "number": position,
        "depth": position / max(1, len(model.index.layers) - 1),
        "width": width,
        "kind": about["kind"],
        "grid": about["grid"],
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
    """The number of features of each verdict, as in `FeatureScores.summary`."""
    counts = counted_verdicts(scores).value_counts()
    return {verdict: int(counts.get(verdict, 0)) for verdict in VERDICTS}


def verdict_data() -> list[Json]:
    """The verdicts, in their order, and the groups of each."""
    return [
        {
            "name": verdict, "glyph": verdict.glyph, "marker": verdict.marker, "explanation": verdict.explanation,
            "positive": verdict in POSITIVE, "one_concept": verdict in ONE_CONCEPT, "tested": verdict in TESTED,
        }
        for verdict in VERDICTS
    ]  # fmt: skip


def examples(frame: pd.DataFrame, verdict: Verdict) -> list[int]:
    """The features of a verdict with the largest log-likelihood ratios, one for each concept and model."""
    rows = frame[frame["verdict"] == VERDICTS.index(verdict)].sort_values("llr", ascending=False, kind="stable")
    rows = rows.drop_duplicates(["model", "concept_0"])
    share = max(1, EXAMPLES // max(1, frame["model"].nunique()))
    chosen = rows.groupby("model", sort=False).head(share)
    return [int(row) for row in chosen.index[:EXAMPLES]]


def written_at(index: Index) -> str:
    """When the index was finished; from its file's time, as equal builds have equal bytes and so no date."""
    return in_words(finished(index))


def written_last(models: Sequence[ReportModel], probes: Sequence[ReportProbe]) -> str | None:
    """When the last index or probe was finished; None if no time is known."""
    times = [finished(model.index) for model in models]
    times += [probe.written for probe in probes if probe.written is not None]
    return in_words(max(times)) if times else None


def finished(index: Index) -> float:
    """When the index was finished, in seconds since 1970."""
    return (index.path / "manifest.json").stat().st_mtime


def in_words(seconds: float) -> str:
    """Seconds since 1970 as a date and time in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def caveats(models: Sequence[ReportModel], concepts: ReportConcepts, contents: Contents) -> Iterator[str]:
    """The caveats of this report; those of every report are in the template of the overview."""
    if concepts.family is not None:
        yield (
            "The concept table of a feature tests each concept against random images, one feature at a time. Only the "
            "verdict is also tested against images that many features list and against images that look alike"
        )
    labels_of: dict[str, list[str]] = {}
    for model in models:
        if model.scores is not None:
            settings = model.scores.settings
            q = (
                f"of the features called {', '.join(POSITIVE[:-1])} or {POSITIVE[-1]} in a layer, about "
                f"{settings['q']:.0%} are expected to be false discoveries"
            )
            for text in (q, f"whether images only look alike: {describe_looks(settings['looks'])}"):
                labels_of.setdefault(text, []).append(model.label)
    for text, labels in labels_of.items():
        yield f"{', '.join(labels)}: {text}"
    if any(model.names is not None for model in models):
        yield (
            "A name is chosen on one half of the images and tested on the other: its AUC is the probability that an "
            "image of the name activates the feature more than another image, 0.5 by chance"
        )
    yield from contents.maps.notes
