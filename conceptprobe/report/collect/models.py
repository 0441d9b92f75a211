"""The models of a report: an index each, with what else is known of its features."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conceptprobe.concepts.comparison.contrast import Contrast
from conceptprobe.concepts.naming.names import FeatureNames
from conceptprobe.concepts.scoring.scores import FeatureScores
from conceptprobe.indexing import Index
from conceptprobe.report.errors import ReportError

CHUNK = 64
"""Features whose data lie in one file."""
LONGEST_KEY = 60
LONGEST_TABLE = 20


@dataclass(frozen=True, eq=False)
class ReportModel:
    """One model of a report.

    Attributes:
        number: Its position in the report.
        key: Its name in links: unique, of letters, digits and `._@-`.
        label: What it is called: its spec, numbered where two indices share it.
        pooling: That of its verdicts, lists and statistics: its scores' where there are some, else the index's first.
        starts: For each layer the number of its first feature; features are numbered through the report.
        scores, names: Where there are some.
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
        """How many of a feature's top images its table of concepts is of."""
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
        place = self.index.layers.index(layer)
        for at, first in enumerate(range(0, self.widths[layer], CHUNK)):
            yield f"{self.number}-{place}-{at}", slice(first, min(first + CHUNK, self.widths[layer]))


def make_models(
    indices: Sequence[Index], scores: Iterable[FeatureScores] = (), names: Iterable[FeatureNames] = ()
) -> tuple[ReportModel, ...]:
    """Bring indices together with the scores and names that are of them.

    Raises:
        ReportError: Scores or names are of none of the indices, or an index has several; the message names them.
    """
    scores_of = assign(indices, scores, "scores", "conceptprobe score")
    names_of = assign(indices, names, "names", "conceptprobe label")
    models, start = [], 0
    labels = model_labels(indices)
    keys = model_keys(indices)
    for number, (index, key, label) in enumerate(zip(indices, keys, labels, strict=True)):
        own: FeatureScores | None = scores_of.get(number)
        starts = {}
        for layer in index.layers:
            starts[layer] = start
            start += index.width(layer)
        pooling = index.pooling if own is None else own.settings["pooling"]
        models.append(ReportModel(number, index, key, label, pooling, starts, own, names_of.get(number)))
    return tuple(models)


def assign(indices: Sequence[Index], results: Iterable[Any], what: str, command: str) -> dict[int, Any]:
    """Which index each result is of, by the fingerprints, layers and pooling that its settings say."""
    found: dict[int, Any] = {}
    for result in results:
        own = [at for at, index in enumerate(indices) if not mismatch(index, result.settings)]
        if not own:
            whys = "; ".join(f"{index.path.name}: {mismatch(index, result.settings)}" for index in indices)
            raise ReportError(
                f"the {what} of {result.settings['model']} on {result.settings['source']} are of none of the indices "
                f"({whys}): make them again with `{command} INDEX`, or leave them out"
            )
        free = [at for at in own if at not in found]
        if not free:
            raise ReportError(
                f"there are several {what} of {indices[own[0]].path.name} ({result.settings['model']}): give one each"
            )
        found[free[0]] = result
    return found


def mismatch(index: Index, settings: Mapping[str, Any]) -> str:
    """Why a result is not of an index; empty where it is."""
    manifest, its = index.manifest, settings["fingerprints"]
    if its["model"] != manifest.model.fingerprint:
        return "of another model or weights"
    if its["source"] != manifest.source.fingerprint:
        return "of other images"
    if missing := [layer for layer in settings["layers"] if layer not in index.layers]:
        return f"it has no layer {', '.join(missing[:3])}"
    if settings["pooling"] not in manifest.pooling:
        return f"it has no pooling {settings['pooling']}"
    return ""


def contrast_models(contrast: Contrast, models: Sequence[ReportModel]) -> list[int]:
    """The model of the report that each model of a contrast is; -1 where it is not in the report.

    Raises:
        ReportError: Fewer than two are.
    """
    found: list[int] = []
    for settings in contrast.settings["scores"]:
        own = [m.number for m in models if not mismatch(m.index, settings) and m.number not in found]
        found.append(own[0] if own else -1)
    if sum(number >= 0 for number in found) < 2:
        raise ReportError(
            f"the contrast of {' and '.join(contrast.settings['models'])} is not of the indices of this report "
            f"({', '.join(model.index.path.name for model in models)}): give the indices that it was made of, or make "
            "it again with `conceptprobe contrast INDEX_A INDEX_B`"
        )
    return found


def model_labels(indices: Sequence[Index]) -> list[str]:
    """One name for each index: its model's spec, with a number behind it from the second time on."""
    return numbered([index.manifest.model.spec for index in indices], "{} ({})")


def model_keys(indices: Sequence[Index]) -> list[str]:
    """Short names for links: the spec without its family, of plain characters only."""
    specs = [index.manifest.model.spec for index in indices]
    return numbered([plain_name(spec.partition(":")[2] or spec) for spec in specs], "{}-{}")


def plain_name(text: str) -> str:
    """A text in characters that neither a URL nor a file system minds."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "._@-") else "-" for c in text)[:LONGEST_KEY] or "-"


def numbered(names: Sequence[str], form: str) -> list[str]:
    """The names, each once: the second of a name gets the number 2 behind it, and so on."""
    result: list[str] = []
    for name in names:
        own, times = name, 1
        while own in result:
            times += 1
            own = form.format(name, times)
        result.append(own)
    return result
