"""The models of a report: an index each, with the scores and names of its features."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conceptprobe.concepts.comparison.contrast import Contrast
from conceptprobe.concepts.naming.names import FeatureNames
from conceptprobe.concepts.scoring.scores import FeatureScores
from conceptprobe.indexing import Index
from conceptprobe.report.errors import ReportError

CHUNK = 64
"""The number of features whose data share a file."""
LONGEST_KEY = 60
LONGEST_TABLE = 20


@dataclass(frozen=True, eq=False)
class ReportModel:
    """One model of a report.

    Attributes:
        number: The position of the model in the report.
        index: The index of its features.
        key: The unique name of the model in links, of letters, digits and `._@-`.
        label: The name that pages show: the spec, with a number if two indices share it.
        pooling: The pooling of its verdicts, lists and statistics: that of its scores, else the first of the index.
        starts: The number of the first feature of each layer; features are numbered through the report.
        scores: Its scores, if the report has them.
        names: The names of its features, if the report has them.
    """

    number: int
    index: Index
    key: str
    label: str
    pooling: str
    starts: Mapping[str, int]
    scores: FeatureScores | None = None
    names: FeatureNames | None = None

    @property
    def table_k(self) -> int:
        """How many top images of a feature its table of concepts counts."""
        if self.scores is not None:
            return int(self.scores.settings["k"])
        return max(1, min(LONGEST_TABLE, self.index.manifest.k, len(self.index.images) // 2))

    @property
    def widths(self) -> dict[str, int]:
        """The number of features of each layer."""
        return {layer: self.index.width(layer) for layer in self.index.layers}

    @property
    def features(self) -> int:
        """The number of features of all layers."""
        return sum(self.widths.values())

    def chunks(self, layer: str) -> Iterator[tuple[str, slice]]:
        """The key of every chunk of a layer's features, and the features in it."""
        position = self.index.layers.index(layer)
        for at, first in enumerate(range(0, self.widths[layer], CHUNK)):
            yield f"{self.number}-{position}-{at}", slice(first, min(first + CHUNK, self.widths[layer]))


def make_models(
    indices: Sequence[Index], scores: Iterable[FeatureScores] = (), names: Iterable[FeatureNames] = ()
) -> tuple[ReportModel, ...]:
    """Match indices with their scores and names.

    Raises:
        ReportError: Scores or names match no index, or an index has several; the message names them.
    """
    scores_of = assign(indices, scores, "scores", "conceptprobe score")
    names_of = assign(indices, names, "names", "conceptprobe label")
    models, start = [], 0
    labels = model_labels(indices)
    keys = model_keys(indices)
    for number, (index, key, label) in enumerate(zip(indices, keys, labels, strict=True)):
        scored: FeatureScores | None = scores_of.get(number)
        starts = {}
        for layer in index.layers:
            starts[layer] = start
            start += index.width(layer)
        pooling = index.pooling if scored is None else scored.settings["pooling"]
        models.append(ReportModel(number, index, key, label, pooling, starts, scored, names_of.get(number)))
    return tuple(models)


def assign(indices: Sequence[Index], results: Iterable[Any], what: str, command: str) -> dict[int, Any]:
    """Match results with indices by the fingerprints, layers and pooling of their settings: position to result."""
    assigned: dict[int, Any] = {}
    for result in results:
        matching = [at for at, index in enumerate(indices) if not mismatch(index, result.settings)]
        if not matching:
            whys = "; ".join(f"{index.path.name}: {mismatch(index, result.settings)}" for index in indices)
            raise ReportError(
                f"the {what} of {result.settings['model']} on {result.settings['source']} match none of the indices "
                f"({whys}): make them again with `{command} INDEX`, or leave them out"
            )
        free = [at for at in matching if at not in assigned]
        if not free:
            name = indices[matching[0]].path.name
            raise ReportError(
                f"several {what} match the index {name} ({result.settings['model']}): pass one for each index"
            )
        assigned[free[0]] = result
    return assigned


def mismatch(index: Index, settings: Mapping[str, Any]) -> str:
    """Why a result does not match an index; empty if it does."""
    manifest, fingerprints = index.manifest, settings["fingerprints"]
    if fingerprints["model"] != manifest.model.fingerprint:
        return "of another model or weights"
    if fingerprints["source"] != manifest.source.fingerprint:
        return "of other images"
    if missing := [layer for layer in settings["layers"] if layer not in index.layers]:
        return f"it has no layer {', '.join(missing[:3])}"
    if settings["pooling"] not in manifest.pooling:
        return f"it has no pooling {settings['pooling']}"
    return ""


def contrast_models(contrast: Contrast, models: Sequence[ReportModel]) -> list[int]:
    """The number in the report of each model of a contrast; -1 if the model is not in the report.

    Raises:
        ReportError: Fewer than two of the models are in the report.
    """
    numbers: list[int] = []
    for settings in contrast.settings["scores"]:
        matching = [m.number for m in models if not mismatch(m.index, settings) and m.number not in numbers]
        numbers.append(matching[0] if matching else -1)
    if sum(number >= 0 for number in numbers) < 2:
        raise ReportError(
            f"the contrast of {' and '.join(contrast.settings['models'])} compares other indices than those of this "
            f"report ({', '.join(model.index.path.name for model in models)}): add the indices that it compares, or "
            "make it again with `conceptprobe contrast INDEX_A INDEX_B`"
        )
    return numbers


def model_labels(indices: Sequence[Index]) -> list[str]:
    """A label for each index: the spec of its model, with a number from the second occurrence on."""
    return numbered([index.manifest.model.spec for index in indices], "{} ({})")


def model_keys(indices: Sequence[Index]) -> list[str]:
    """Short names for links: the specs without their families, in plain characters."""
    specs = [index.manifest.model.spec for index in indices]
    return numbered([plain_name(spec.partition(":")[2] or spec) for spec in specs], "{}-{}")


def plain_name(text: str) -> str:
    """Replace the characters of a text that are not safe in both URLs and file names."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "._@-") else "-" for c in text)[:LONGEST_KEY] or "-"


def numbered(names: Sequence[str], form: str) -> list[str]:
    """Make names unique: the second occurrence of a name gets the number 2, and so on."""
    result: list[str] = []
    for name in names:
        unique, times = name, 1
        while unique in result:
            times += 1
            unique = form.format(name, times)
        result.append(unique)
    return result
