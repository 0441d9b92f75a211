"""Write a report: `write_report`."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

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
from conceptprobe.report.collect.probes import ProbeLike, load_probes
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
from conceptprobe.report.data.probe_commands import probe_command
from conceptprobe.report.data.probes import write_probes
from conceptprobe.report.data.visualizations import (
    VisualizationsLike,
    WrittenVisualizations,
    read_visualizations,
    write_visualizations,
)
from conceptprobe.report.errors import ReportError
from conceptprobe.report.output_folder import check_report
from conceptprobe.report.pages import write_pages
from conceptprobe.report.pictures.gallery import Gallery, collect_gallery, image_chunks, images_data
from conceptprobe.report.pictures.thumbnails import open_sources, write_thumbnails
from conceptprobe.report.pictures.whole_images import write_whole_images
from conceptprobe.report.scripts import Json, write_data
from conceptprobe.report.settings import TITLE, report_settings


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a report shows of features: models, concepts, images, and matched features.

    Attributes:
        models: The models of the report.
        concepts: Their concepts.
        gallery: Their images.
        contrasts: The contrasts between them.
        tables: The concept table of each layer, by the number of its first feature.
        matches: The matches of each contrast.
    """

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
    visualizations: Sequence[VisualizationsLike] = (),
    probes: Sequence[ProbeLike] = (),
    concepts: ConceptSet | None = None,
    maps: bool = False,
    images: str = "thumbs",
    title: str = TITLE,
    progress: bool = False,
) -> Path:
    """Write a static report of one or several indices and their results, or of probes alone.

    Scores and names find their index by their fingerprints. The folder appears complete or not at all: it is written
    beside `out` and renamed at the end. An earlier report at `out` is replaced.

    Args:
        out: The folder to write.
        indices: Indices of different models, usually with the same layers over the same images.
        scores: The scores of some or all indices, in any order.
        names: The names of features of some or all indices, in any order.
        contrasts: Contrasts between some of the indices.
        visualizations: Visualizations of the models, or the folders that hold them. Folders may hold animations, too.
        probes: Results of probes of any models, or folders with one result or a folder for each. Features of models
            that have an index in the report are linked.
        concepts: The concepts of the scores, over the images of the first index; by default all that its image source
            knows.
        maps: Whether to run the models over the top images once more and show where in an image a feature is active.
            The report notes a model that is left out because its weights or images are gone.
        images: `thumbs` for small tiles only; `copy` for the whole top images, too; `link` for links to their files.
        title: The heading of the report.
        progress: Whether to show bars on stderr.

    Returns:
        The path of its `index.html`.

    Raises:
        ReportError: There is neither an index nor a probe; a result matches no index; a folder holds no result; a
            setting is not allowed; or `out` exists and is not a report.
    """
    settings = report_settings({"maps": maps, "images": images, "title": title, "progress": progress})
    out = Path(out)
    listed = (indices,) if isinstance(indices, Index | str | os.PathLike) else indices
    indices = tuple(as_index(index) for index in listed)
    if not indices and not probes:
        raise ReportError(
            "a report needs at least one index or probe: conceptprobe report INDEX... --probes DIR --out DIR"
        )
    check_replaceable(out, check_report)
    models = make_models(indices, scores, names)
    report_contrasts = make_contrasts(contrasts, models)
    loaded = read_visualizations(visualizations, models)
    report_probes = load_probes(probes, models)
    inputs = collect_inputs(models, collect_concepts(models, concepts), report_contrasts, progress)
    with staged(out, check_report) as folder:
        data = folder / "data"
        data.mkdir()
        opened = open_sources(inputs.gallery)
        files = write_whole_images(inputs.gallery, opened, folder, settings)
        thumbnails = write_thumbnails(inputs.gallery, opened, folder, progress)
        write_chunks(data, image_chunks(inputs.gallery, files))
        write_data(data, "images", images_data(inputs.gallery, thumbnails.shown_nd, files))
        visualized = write_visualizations(loaded, models, folder)
        mapped = write_maps(models, data, progress) if maps else Maps({}, ())
        catalogue = write_features(data, inputs, visualized, progress)
        write_concepts(data, inputs, catalogue)
        write_contrasts(data, inputs)
        if visualized.other:
            write_data(data, "visualizations", {"other": list(visualized.other)})
        commands = run_commands(
            models, contrasts,
            [(probe_command(probe.result, models, probe.folder), probe.folder) for probe in report_probes],
            report_options([saved for _, saved in loaded], settings),
        )  # fmt: skip
        contents = Contents(
            commands, thumbnails.reasons, visualized.count, len(visualized.other), len(contrasts), mapped,
            write_probes(report_probes, models, folder), written_last(models, report_probes),
        )  # fmt: skip
        report = report_data(settings, contents, models, inputs.gallery, inputs.concepts, catalogue)
        write_data(data, "report", report)
        write_pages(folder, report)
    return out / "index.html"


def collect_inputs(
    models: tuple[ReportModel, ...], concepts: ReportConcepts, contrasts: tuple[ReportContrast, ...], progress: bool
) -> Inputs:
    """Find the images that occur, the concepts of each feature, and the matched features."""
    gallery = collect_gallery(models, concepts)
    layers = [(model, layer) for model in models for layer in model.index.layers]
    tables = {}
    for model, layer in tracked(layers, "concepts", show=progress):
        if concepts.family is not None and model.number in concepts.models:
            dead = model.index.stats(layer, model.pooling)["dead"].to_numpy(bool)
            rows_fk = model.index.lists(layer, "top", model.pooling).rows[:, : model.table_k]
            tables[model.starts[layer]] = tabulate_concepts(concepts.family, rows_fk, ~dead)
    matches = tuple(match_table(contrast, models) for contrast in contrasts)
    return Inputs(models, concepts, gallery, contrasts, tables, matches)


def write_chunks(folder: Path, chunks: Iterable[tuple[str, Json]]) -> None:
    """Write chunks of data, each with its key."""
    for key, value in chunks:
        write_data(folder, key, value)


def write_features(folder: Path, inputs: Inputs, visualized: WrittenVisualizations, progress: bool) -> Catalogue:
    """Write the catalogue and the data of the features' pages."""
    counterparts = match_rows(inputs.matches)
    layers = [(model, layer) for model in inputs.models for layer in model.index.layers]
    for model, layer in tracked(layers, "features", show=progress):
        start, width = model.starts[layer], model.widths[layer]
        matches = {g - start: counterparts[g] for g in range(start, start + width) if g in counterparts}
        extras = Extras(
            inputs.tables.get(start), matches if counterparts else None,
            visualized.of_layer(start, width) if visualized.count else None,
        )  # fmt: skip
        write_chunks(folder, feature_chunks(model, layer, inputs.gallery, extras))
    first = inputs.matches[0] if inputs.matches else pd.DataFrame()
    catalogue = make_catalogue(inputs.models, inputs.gallery, inputs.concepts, inputs.tables, first, visualized.first)
    if inputs.models:
        write_data(folder, "catalogue", catalogue_data(catalogue))
    return catalogue


def write_concepts(folder: Path, inputs: Inputs, catalogue: Catalogue) -> None:
    """Write the data of the concepts' pages, if there are concepts."""
    concepts, models = inputs.concepts, len(inputs.models)
    if not len(concepts):
        return
    held, listed = catalogue.held_by(len(concepts), models), catalogue.listed_by(len(concepts), models)
    write_data(folder, "concepts", concepts_data(concepts, held, listed))
    numbers = inputs.gallery.of_rows(min(concepts.models, default=0), concepts.sample)
    write_chunks(folder, concept_chunks(concepts, numbers, list(inputs.tables.items())))


def write_contrasts(folder: Path, inputs: Inputs) -> None:
    """Write the contrasts and their matches, if there are any."""
    if not inputs.contrasts:
        return
    data, count = [], 0
    for contrast, table in zip(inputs.contrasts, inputs.matches, strict=True):
        files = []
        for pair in matches_data(table):
            key = f"matches/{count}"
            write_data(folder, key, pair)
            files.append({"model_a": pair["model_a"], "model_b": pair["model_b"], "file": key})
            count += 1
        data.append(contrast_data(contrast, inputs.models, inputs.concepts, files))
    write_data(folder, "contrast", data)
