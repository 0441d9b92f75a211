"""The commands and the lines of Python that reproduce a report. They refer to folders by their names."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from conceptprobe.concepts.comparison.contrast import Contrast
from conceptprobe.indexing import Index
from conceptprobe.report.collect.models import ReportModel
from conceptprobe.report.settings import ReportSettings


def run_commands(
    models: Sequence[ReportModel], contrasts: Sequence[Contrast], probes: Sequence[tuple[str | None, str]] = (),
    options: Sequence[str] = (),
) -> list[str]:  # fmt: skip
    """The commands that reproduce a report, in order.

    Args:
        models: The models of the report.
        contrasts: The contrasts of the report.
        probes: The command, if there is one, and the folder of each probe.
        options: More options of `conceptprobe report`.
    """
    return list(_all_commands(models, contrasts, probes, options))


def _all_commands(
    models: Sequence[ReportModel], contrasts: Sequence[Contrast], probes: Sequence[tuple[str | None, str]],
    options: Sequence[str],
) -> Iterator[str]:  # fmt: skip
    report = ["report", *(model.index.path.name for model in models)]
    for model in models:
        if not model.index.manifest.model.get("external"):
            yield build_command(model.index)
    family: list[str] = []
    for model in models:
        if model.scores is not None:
            folder = f"scores-{model.key}"
            yield score_command(model.index, model.scores.settings, folder)
            report += ["--scores", folder]
            family = family or concept_options(model.scores.settings)
    for model in models:
        if model.names is not None:
            folder = f"names-{model.key}"
            yield label_command(model.index, model.names.settings, folder)
            report += ["--names", folder]
    for at, contrast in enumerate(contrasts):
        folder = "contrast" if at == 0 else f"contrast-{at + 1}"
        yield contrast_command(models, contrast, folder)
        report += ["--contrast", folder]
    for line, folder in probes:
        if line is not None:
            yield line
        report += ["--probes", folder]
    yield command([*report, *family, *options, "--out", "report"])


def report_options(visualizations: Sequence[Path | None], settings: ReportSettings) -> list[str]:
    """The options of `conceptprobe report` for visualizations, maps and images.

    Args:
        visualizations: The folders of visualizations; None for an unknown folder.
        settings: The settings of the report.
    """
    folders = ["visualizations" if folder is None else folder.resolve().name for folder in visualizations]
    words = [word for folder in folders for word in ("--visualizations", folder)]
    words += ["--maps"] if settings.maps else []
    words += ["--images", settings.images] if settings.images != "thumbs" else []
    return words


def command(words: Sequence[Any]) -> str:
    """Join words to a command, quoted for a shell."""
    return shlex.join(["conceptprobe", *(str(word) for word in words)])


def build_command(index: Index) -> str:
    """The command that builds this index."""
    manifest = index.manifest
    words = ["index", "build", "--model", manifest.model["spec"], "--images", manifest.source["spec"]]
    words += [word for layer in index.layers for word in ("--layers", layer)]
    words += [word for pooling in manifest.pooling for word in ("--pooling", pooling)]
    words += ["--k", manifest.k, "--batch-size", manifest.batch_size]
    words += ["--background", manifest.source["background"]]
    words += ["--fast-decode"] if "fast_decode" in manifest.source else []
    words += ["--bottom", manifest.bottom] if manifest.bottom else []
    return command([*words, "--out", index.path.name])


def score_command(index: Index, settings: dict[str, Any], folder: str) -> str:
    """The command that scores an index with these settings; it calls the user's concepts CONCEPTS."""
    words = [
        "score",
        index.path.name,
        *concept_options(settings),
        "--pooling",
        settings["pooling"],
        "-k",
        settings["k"],
        "-q",
        settings["q"],
    ]
    words += [*layer_options(index, settings["layers"]), "--seed", settings["seed"]]
    words += ["--scorer", settings["scorer"]] if settings["scorer"] else []
    words += ["--no-visual"] if settings["looks"]["method"] is None else []
    return command([*words, "--out", folder])


def concept_options(settings: dict[str, Any]) -> list[str]:
    """The options for the concepts of scores: a taxonomy, or the user's concepts."""
    return [file_name(option) for option in settings["concepts"].get("options", ())]


def file_name(text: str) -> str:
    """The name of a path; a list of columns is not a path and stays as it is."""
    return text if text.startswith("columns:") else Path(text).name


def label_command(index: Index, settings: dict[str, Any], folder: str) -> str:
    """The command that names features with these settings; it calls the user's list of words WORDS."""
    words = [
        "label",
        index.path.name,
        "--scorer",
        settings["scorer"],
        "--words",
        file_name(settings.get("word_list") or "WORDS"),
    ]
    words += [*layer_options(index, settings["layers"]), "-k", settings["k"], "-q", settings["q"]]
    words += [word for template in settings["templates"] if template != "{}" for word in ("--template", template)]
    return command([*words, "--seed", settings["seed"], "--out", folder])


def contrast_command(models: Sequence[ReportModel], contrast: Contrast, folder: str) -> str:
    """The command that contrasts models with these settings."""
    settings = contrast.settings
    scored = [model for model in models if model.scores is not None]
    matching = [[m for m in scored if m.scores and m.scores.settings == its][:1] for its in settings["scores"]]
    known = [model for models_ in matching for model in models_]
    if len(known) == len(matching):
        words = [model.index.path.name for model in known]
        words += [word for model in known for word in ("--scores", f"scores-{model.key}")]
    else:
        words = list(settings["models"])
    words += concept_options(settings["scores"][0])
    words += ["--resamples", settings["resamples"], "--seed", settings["seed"]]
    return command(["contrast", *words, "--out", folder])


def layer_options(index: Index, layers: Sequence[str]) -> list[str]:
    """The options that choose layers; none if they are all layers of the index."""
    return [] if list(layers) == list(index.layers) else [word for layer in layers for word in ("--layer", layer)]


def feature_python(model: ReportModel) -> list[str]:
    """Lines of Python that reproduce the page of a feature; `{feature}` stands for its id."""
    name, index = model.index.path.name, model.index
    lines = ["import conceptprobe as cp", "", f"index = cp.open_index({name!r})", 'feature = "{feature}"']
    lines += [f"index.top(feature, k={min(32, index.manifest.k)}, pooling={model.pooling!r})"]
    lines += [f"index.strip(feature, pooling={model.pooling!r})"]
    if index.manifest.bottom:
        lines.append(f"index.bottom(feature, k={min(32, index.manifest.bottom)}, pooling={model.pooling!r})")
    if index.manifest.vectors:
        lines.append("index.neighbours(feature, k=10)")
    if model.scores is not None:
        settings = model.scores.settings
        lines += ["", *python_concepts(settings)]
        lines += [
            f"scores = cp.score_features(index, concepts, k={settings['k']}, pooling={settings['pooling']!r}, "
            f"q={settings['q']}, seed={settings['seed']})",
            "scores.frame.query(\"layer == '{layer}' and feature == {index}\").T",
        ]
    return lines


def python_concepts(settings: dict[str, Any]) -> list[str]:
    """Lines of Python that make the concepts of scores."""
    option, *value = concept_options(settings) or [""]
    if option == "--concepts":
        return [
            "from conceptprobe.concepts.sets.user_sets import beside_labels, read_sets",
            f"concepts = beside_labels(read_sets({value[0]!r}), index.images)",
        ]
    return [f"concepts = cp.concepts_of(index{f', {value[0]!r}' if value else ''})"]


def feature_cli(model: ReportModel) -> list[str]:
    """Commands that reproduce the page of a feature; `{feature}` stands for its id."""
    name = model.index.path.name
    search = ["search", name, "--pooling", model.pooling, "-k", min(32, model.index.manifest.k)]
    lines = [f"{command(search)} --feature '{{feature}}'"]
    if model.index.manifest.vectors:
        lines.append(f"{command(['search', name])} --neighbours '{{feature}}'")
    if model.scores is not None:
        lines.append(score_command(model.index, model.scores.settings, f"scores-{model.key}"))
    return lines
