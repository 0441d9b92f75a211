"""The features that `--features` names."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from conceptprobe.concepts.scoring.verdicts import POSITIVE
from conceptprobe.feature import FeatureId

if TYPE_CHECKING:
    from conceptprobe.indexing import Index
    from conceptprobe.models import VisionModel

TOP = re.compile(rf"top-({'|'.join(POSITIVE)}):([1-9][0-9]*)")
RANGE = re.compile(r"([0-9]+)(?:-([0-9]+))?")
EXAMPLES = "0-63, 3,7,12, blocks.5.mlp.hidden:12, top-conceptual:32 or the path of a file with one in each line"


def listed_features(
    features: str, model: "VisionModel", layers: Sequence[str] | None, index: "Index | None"
) -> list["FeatureId"]:
    """The features that a list or a file names, each once; a bare number is a feature of every chosen layer."""
    from conceptprobe.feature import FeatureId

    texts = list(_split(features))
    names: list[str] = []
    if any(RANGE.fullmatch(text) for text in texts):
        chosen = layers or (index and [index.layers[-1]])
        if not chosen:
            raise typer.BadParameter("give --layer, or an --index, or features such as blocks.5.mlp.hidden:12")
        names = [layer.name for layer in model.resolve(chosen)]
    result: list[FeatureId] = []
    for text in texts:
        match = RANGE.fullmatch(text)
        if match is None:
            result.append(FeatureId.parse(text))
            continue
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise typer.BadParameter(f"--features has {text}: write the smaller number first")
        for name in names:
            (layer,) = model.resolve(name)
            if last >= layer.width:
                raise typer.BadParameter(f"--features has {text}: {name} has features 0 to {layer.width - 1}")
            result.extend(FeatureId(name, number) for number in range(first, last + 1))
    return list(dict.fromkeys(result))


def _split(features: str) -> Iterator[str]:
    path = Path(features)
    if path.is_file():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise typer.BadParameter(f"{path} is not a text in UTF-8: write one feature in each line") from error
        texts = [text for line in lines for text in line.partition("#")[0].replace(",", " ").split()]
        origin = str(path)
    else:
        texts, origin = [text.strip() for text in features.split(",")], "--features"
    if not texts:
        raise typer.BadParameter(f"{origin} names no feature")
    for text in texts:
        if RANGE.fullmatch(text) is None and re.fullmatch(r".+:[0-9]+", text) is None:
            raise typer.BadParameter(f"{origin} has {text!r}, which is no feature and no file: write {EXAMPLES}")
        yield text


def best_features(
    folder: Path, verdict: str, count: int, model: "VisionModel", layers: Sequence[str] | None
) -> list["FeatureId"]:
    """The features of a verdict with the strongest evidence in saved scores: by q, then by log-likelihood ratio."""
    from conceptprobe.concepts.scoring.scores import load_scores
    from conceptprobe.feature import FeatureId

    scores = load_scores(folder)
    if scores.settings["fingerprints"]["model"] != model.fingerprint:
        raise typer.BadParameter(f"{folder} has scores of {scores.settings['model']}, which is not {model.spec}")
    frame: Any = scores.frame[scores.frame["verdict"] == verdict]
    if layers:
        frame = frame[frame["layer"].isin([layer.name for layer in model.resolve(layers)])]
    if frame.empty:
        raise typer.BadParameter(f"{folder} has no {verdict} features{' in these layers' if layers else ''}")
    if len(frame) < count:
        typer.echo(f"{folder} has only {len(frame)} {verdict} features, so fewer than {count} are made", err=True)
    best = frame.sort_values(["q", "llr"], ascending=[True, False], kind="stable").head(count)
    return [FeatureId(str(row.layer), int(row.feature)) for row in best.itertuples()]
