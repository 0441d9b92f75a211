"""The commands and the lines of Python that make what a report shows once more. Folders are called by their names."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from conceptprobe.concepts.comparison.contrast import Contrast
from conceptprobe.indexing import Index
from conceptprobe.report.collect.models import ReportModel


def run_commands(
    models: Sequence[ReportModel], contrasts: Sequence[Contrast], probes: Sequence[tuple[str | None, str]] = (),
    options: Sequence[str] = (),
) -> list[str]:  # fmt: skip
    """The commands of the whole run, in order.

    Args:
        probes: Of each probe its command, where there is one, and its folder.
        options: More that the report itself was told.
    """
    return list(_all_commands(models, contrasts, probes, options))


def _all_commands(
    models: Sequence[ReportModel], contrasts: Sequence[Contrast], probes: Sequence[tuple[str | None, str]],
    options: Sequence[str],
) -> Iterator[str]:  # fmt: skip
    report = ["report", *(model.index.path.name for model in models)]
    for model in models:
        if not model.index.manifest.model.external:
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
    for at, own in enumerate(contrasts):
        folder = "contrast" if at == 0 else f"contrast-{at + 1}"
        yield contrast_command(models, own, folder)
        report += ["--contrast", folder]
    for line, folder in probes:
        if line is not None:
            yield line
        report += ["--probes", folder]
    yield command([*report, *family, *options, "--out", "report"])


def report_options(visualizations: Sequence[Path | None], maps: bool, images: str) -> list[str]:
    """What a report was told beside its indices and what is known of them.

    Args:
        visualizations: Where each was saved to, where that is known.
    """
    folders = ["visualizations" if folder is None else folder.resolve().name for folder in visualizations]
    words = [word for folder in folders for word in ("--visualizations", folder)]
    return [*words, *(["--maps"] if maps else []), *(["--images", images] if images != "thumbs" else [])]


def command(words: Sequence[Any]) -> str:
    return shlex.join(["conceptprobe", *(str(word) for word in words)])


def build_command(index: Index) -> str:
    """The command that makes this index again."""
    manifest = index.manifest
    words: list[Any] = ["index", "build", "--model", manifest.model.spec, "--images", manifest.source.spec]
    words += [word for layer in index.layers for word in ("--layers", layer)]
    words += [word for pooling in manifest.pooling for word in ("--pooling", pooling)]
    words += ["--k", manifest.k, "--batch-size", manifest.batch_size]
    words += ["--background", manifest.source.background]
    words += ["--fast-decode"] if manifest.source.fast_decode else []
    words += ["--bottom", manifest.bottom] if manifest.bottom else []
    return command([*words, "--out", index.path.name])


def score_command(index: Index, settings: dict[str, Any], folder: str) -> str:
    """The command that scores an index so again; concepts of one's own are a file that is called CONCEPTS."""
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
    """What scores were made with beside what is known of the images: a taxonomy, or concepts of one's own."""
    return [file_name(option) for option in settings["concepts"].get("options", ())]


def file_name(text: str) -> str:
    """A path by its last part; what is no path as it is."""
    return text if text.startswith("columns:") else Path(text).name


def label_command(index: Index, settings: dict[str, Any], folder: str) -> str:
    """The command that names features so again; words of one's own are a file that is called WORDS."""
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
    """The command that contrasts the models so again."""
    settings = contrast.settings
    own = [
        next((m for m in models if m.scores is not None and m.scores.settings == its), None)
        for its in settings["scores"]
    ]  # fmt: skip
    if all(model is not None for model in own):
        known = [model for model in own if model is not None]
        words = [model.index.path.name for model in known]
        words += [word for model in known for word in ("--scores", f"scores-{model.key}")]
    else:
        words = list(settings["models"])
    words += concept_options(settings["scores"][0])
    words += ["--resamples", settings["resamples"], "--seed", settings["seed"]]
    return command(["contrast", *words, "--out", folder])


def layer_options(index: Index, layers: Sequence[str]) -> list[str]:
    return [] if list(layers) == list(index.layers) else [word for layer in layers for word in ("--layer", layer)]


def feature_python(model: ReportModel) -> list[str]:
    """Lines of Python that give what a feature's page shows; `{feature}` stands for its id."""
    name, index = model.index.path.name, model.index
    lines = ["import conceptprobe as cp", "", f"index = cp.open_index({name!r})", 'feature = "{feature}"']
    lines += [f"index.top(feature, k={min(32, index.manifest.k)}, pooling={model.pooling!r})"]
    lines += [f"index.strip(feature, pooling={model.pooling!r})"]
    if index.manifest.bottom:
        lines.append(f"index.bottom(feature, k={min(32, index.manifest.bottom)}, pooling={model.pooling!r})")
    if index.keeps_activations():
        lines.append("index.neighbours(feature, k=10)")
    if model.scores is not None:
        its = model.scores.settings
        lines += ["", *python_concepts(its)]
        lines += [
            f"scores = cp.score_features(index, concepts, k={its['k']}, pooling={its['pooling']!r}, q={its['q']}, "
            f"seed={its['seed']})",
            "scores.frame.query(\"layer == '{layer}' and feature == {index}\").T",
        ]
    return lines


def python_concepts(settings: dict[str, Any]) -> list[str]:
    """Lines that make the concepts that scores are by."""
    option, *value = concept_options(settings) or [""]
    if option == "--concepts":
        return [
            "from conceptprobe.concepts.sets.user_sets import beside_labels, read_sets",
            f"concepts = beside_labels(read_sets({value[0]!r}), index.images)",
        ]
    return [f"concepts = cp.concepts_of(index{f', {value[0]!r}' if value else ''})"]


def feature_cli(model: ReportModel) -> list[str]:
    """Commands that give what a feature's page shows; `{feature}` stands for its id."""
    name = model.index.path.name
    ask = ["search", name, "--pooling", model.pooling, "-k", min(32, model.index.manifest.k)]
    lines = [f"{command(ask)} --feature '{{feature}}'"]
    if model.index.keeps_activations():
        lines.append(f"{command(['search', name])} --neighbours '{{feature}}'")
    if model.scores is not None:
        lines.append(score_command(model.index, model.scores.settings, f"scores-{model.key}"))
    return lines
