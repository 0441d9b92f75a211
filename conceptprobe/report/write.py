"""Put a report together: `write_report`."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from conceptprobe.concepts.comparison.contrast import Contrast
from conceptprobe.concepts.naming.names import FeatureNames
from conceptprobe.concepts.scoring.scores import FeatureScores
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.display.progress import tracked
from conceptprobe.indexing import Index
from conceptprobe.indexing.index import IndexLike, as_index
from conceptprobe.output.folder import check_replaceable, staged
from conceptprobe.report.collect.concept_tables import ConceptTable, tabulate_concepts
from conceptprobe.report.collect.concepts import ReportConcepts, collect_concepts, concept_chunks, concepts_data
from conceptprobe.report.collect.models import ReportModel, make_models
from conceptprobe.report.data.catalogue import Catalogue, catalogue_data, make_catalogue
from conceptprobe.report.data.commands import report_options, run_commands
from conceptprobe.report.data.contrasts import (
    ReportContrast,
    contrast_data,
    make_contrasts,
    match_rows,
    match_table,
    matches_data,
)
from conceptprobe.report.data.features import Extras, feature_chunks
from conceptprobe.report.data.maps import Maps, write_maps
from conceptprobe.report.data.overview import Contents, report_data, written_last
from conceptprobe.report.data.probes import Given as GivenProbe
from conceptprobe.report.data.probes import load_probes, write_probes
from conceptprobe.report.data.visualizations import Given, Shown, load_given, write_visualizations
from conceptprobe.report.errors import ReportError
from conceptprobe.report.output_folder import MARKER, check_report
from conceptprobe.report.pictures.gallery import Gallery, collect_gallery, image_chunks, images_data
from conceptprobe.report.pictures.thumbnails import open_sources, write_thumbnails
from conceptprobe.report.pictures.whole_images import bring_whole_images, choose
from conceptprobe.report.scripts import Json, write_data

SCHEMA = 2
STATIC = Path(__file__).parent / "static"
TITLE = "What each feature responds to"
PAGES = {
    "overview": ("index.html", "Overview"),
    "explorer": ("explorer.html", "Features"),
    "feature": ("feature.html", ""),
    "concept": ("concept.html", "Concepts"),
    "compare": ("compare.html", "Compare"),
    "probes": ("probes.html", "Probes"),
}
"""File name of each page, and what links to it say; empty where it is of one thing and stands in no list of pages."""


@dataclass(frozen=True, eq=False)
class Material:
    """All that a report is made of, brought together."""

    models: tuple[ReportModel, ...]
    concepts: ReportConcepts
    gallery: Gallery
    contrasts: tuple[ReportContrast, ...]
    tables: Mapping[int, ConceptTable]
    matches: tuple[pd.DataFrame, ...]


def write_report(
    out: Path | str,
    indices: IndexLike | Sequence[IndexLike] = (),
    *,
    scores: Sequence[FeatureScores] = (),
    names: Sequence[FeatureNames] = (),
    contrasts: Sequence[Contrast] = (),
    visualizations: Sequence[Given] = (),
    probes: Sequence[GivenProbe] = (),
    concepts: ConceptSet | None = None,
    maps: bool = False,
    images: str = "thumbs",
    title: str = TITLE,
    progress: bool = False,
) -> Path:
    """Write a static report of one or several indices, with whatever else is known of their features; or of probes
    alone.

    Which scores and names belong to which index is found by the fingerprints that they carry. The folder appears whole
    or not at all: it is written beside `out` and renamed at the end. An earlier report at `out` is replaced.

    Args:
        out: The folder to write.
        indices: Indices of different models, usually with the same layers over the same images.
        scores: Of some or all of the indices, in any order.
        names: The same.
        contrasts: Between some of the indices.
        visualizations: Of the models; or folders that they were saved to, from which animations come too.
        probes: What probes found, of these or of other models; or folders that it was saved to, of one result or with a
            folder for each. Features of models that have an index here are linked.
        concepts: What the scores are by, over the images of the first index; by default all that its source knows.
        maps: Run the models over the top images once more and show where in an image a feature is active. Where a
            model or its images are gone, that is left out and the report says so.
        images: `thumbs`: small tiles only. `copy`: the top images as they are, too; `link`: links to their files.
        title: Heading of the report.
        progress: Show bars on stderr.

    Returns:
        The path of its `index.html`.

    Raises:
        ReportError: Neither an index nor a probe was given; a result that is of an index is of none of these; a folder
            holds no result; or `out` exists and is not a report.
    """
    out = Path(out)
    listed = (indices,) if isinstance(indices, Index | str | os.PathLike) else indices
    indices = tuple(as_index(index) for index in listed)
    if not indices and not probes:
        raise ReportError(
            "a report needs at least one index or probe: conceptprobe report INDEX... --probes DIR --out DIR"
        )
    check_replaceable(out, check_report)
    whole = choose(images)
    models = make_models(indices, scores, names)
    own_contrasts = make_contrasts(contrasts, models)
    pictures = load_given(visualizations, models)
    own_probes = load_probes(probes, models)
    material = bring_together(models, collect_concepts(models, concepts), own_contrasts, progress)
    with staged(out, check_report) as folder:
        (folder / "data").mkdir()
        opened = open_sources(material.gallery)
        files = bring_whole_images(material.gallery, opened, folder, whole)
        thumbnails = write_thumbnails(material.gallery, opened, folder, progress)
        write_all(folder / "data", image_chunks(material.gallery, files))
        write_data(folder / "data", "images", images_data(material.gallery, thumbnails.shown_nd, files))
        shown = write_visualizations(pictures, models, folder)
        made = write_maps(models, folder / "data", progress) if maps else Maps({}, ())
        catalogue = write_features(folder / "data", material, shown, progress)
        write_concepts(folder / "data", material, catalogue)
        write_contrasts(folder / "data", material)
        if shown.other:
            write_data(folder / "data", "visualizations", {"other": list(shown.other)})
        options = report_options([saved for _, saved in pictures], maps, images)
        commands = run_commands(models, contrasts, [(probe.command, probe.folder) for probe in own_probes], options)
        contents = Contents(
            title, commands, thumbnails.reasons, shown.count, len(shown.other), len(contrasts), made.layers, made.notes,
            None if files is None else images,
            write_probes(own_probes, models, folder), written_last(models, own_probes),
        )  # fmt: skip
        report = report_data(contents, models, material.gallery, material.concepts, catalogue)
        write_data(folder / "data", "report", report)
        write_pages(folder, report)
    return out / "index.html"


def bring_together(
    models: tuple[ReportModel, ...], concepts: ReportConcepts, contrasts: tuple[ReportContrast, ...], progress: bool
) -> Material:
    """Find the images that occur, the concepts of each feature, and which features match."""
    gallery = collect_gallery(models, concepts)
    layers = [(model, layer) for model in models for layer in model.index.layers]
    tables = {}
    for model, layer in tracked(layers, "concepts", show=progress):
        if concepts.family is not None and model.number in concepts.models:
            dead = model.index.stats(layer, model.pooling)["dead"].to_numpy(bool)
            rows_fk = model.index.lists(layer, "top", model.pooling).rows[:, : model.table_k]
            tables[model.starts[layer]] = tabulate_concepts(concepts.family, rows_fk, ~dead)
    matches = tuple(match_table(contrast, models) for contrast in contrasts)
    return Material(models, concepts, gallery, contrasts, tables, matches)


def write_all(folder: Path, files: Iterable[tuple[str, Json]]) -> None:
    for key, value in files:
        write_data(folder, key, value)


def write_features(folder: Path, material: Material, shown: Shown, progress: bool) -> Catalogue:
    """Write the catalogue and what the pages of the features show."""
    counterparts = match_rows(material.matches)
    layers = [(model, layer) for model in material.models for layer in model.index.layers]
    for model, layer in tracked(layers, "features", show=progress):
        start, width = model.starts[layer], model.widths[layer]
        own = {g - start: counterparts[g] for g in range(start, start + width) if g in counterparts}
        extras = Extras(
            material.tables.get(start), own if counterparts else None,
            shown.of_layer(start, width) if shown.count else None,
        )  # fmt: skip
        write_all(folder, feature_chunks(model, layer, material.gallery, extras))
    first = material.matches[0] if material.matches else pd.DataFrame()
    catalogue = make_catalogue(
        material.models, material.gallery, material.concepts, material.tables, first, shown.first
    )
    if material.models:
        write_data(folder, "catalogue", catalogue_data(catalogue))
    return catalogue


def write_concepts(folder: Path, material: Material, catalogue: Catalogue) -> None:
    """Write what the pages of the concepts show; nothing where there are no concepts."""
    concepts, models = material.concepts, len(material.models)
    if not len(concepts):
        return
    held, listed = catalogue.held_by(len(concepts), models), catalogue.listed_by(len(concepts), models)
    write_data(folder, "concepts", concepts_data(concepts, held, listed))
    numbers = material.gallery.of_rows(min(concepts.models, default=0), concepts.sample)
    write_all(folder, concept_chunks(concepts, numbers, list(material.tables.items())))


def write_contrasts(folder: Path, material: Material) -> None:
    """Write the contrasts and their matches; nothing where there are none."""
    if not material.contrasts:
        return
    data, files = [], 0
    for contrast, table in zip(material.contrasts, material.matches, strict=True):
        own = []
        for pair in matches_data(table):
            write_data(folder, f"matches/{files}", pair)
            own.append({"model_a": pair["model_a"], "model_b": pair["model_b"], "file": f"matches/{files}"})
            files += 1
        data.append(contrast_data(contrast, material.models, material.concepts, own))
    write_data(folder, "contrast", data)


def write_pages(folder: Path, report: Json) -> None:
    """Write the pages, which read their data themselves, and what they need."""
    shutil.copytree(STATIC, folder / "static")
    has = report["has"]
    needed = {"concept": has["concepts"], "compare": has["contrast"], "probes": has["probes"]}
    needed |= dict.fromkeys(("explorer", "feature"), bool(report["models"]))
    pages = {page: names for page, names in PAGES.items() if needed.get(page, True)}
    environment = make_environment()
    nav = [names for names in pages.values() if names[1]]
    for page, (file, _) in pages.items():
        template = environment.get_template(f"{page}.html")
        html = template.render(title=report["title"], page=page, file=file, nav=nav, has=has, models=report["models"])
        (folder / file).write_text(html, encoding="utf-8", errors="replace")
    marker = {"schema": SCHEMA, "title": report["title"], "models": [model["label"] for model in report["models"]]}
    (folder / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")


def make_environment() -> Environment:
    return Environment(
        loader=PackageLoader("conceptprobe.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
