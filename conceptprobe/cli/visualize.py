"""`conceptprobe visualize`."""

import json
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conceptprobe.cli.interrupt import resumable
from conceptprobe.concepts.scoring.verdicts import POSITIVE

if TYPE_CHECKING:
    from conceptprobe.feature import FeatureId
    from conceptprobe.indexing import Index
    from conceptprobe.models import VisionModel
    from conceptprobe.visualization.results.visualizations import Visualizations

CONTACT = "contact.png"
TOP = re.compile(rf"top-({'|'.join(POSITIVE)}):([1-9][0-9]*)")
RANGE = re.compile(r"([0-9]+)(?:-([0-9]+))?")


class Animation(StrEnum):
    """Kinds of animation."""

    GIF = "gif"
    WEBP = "webp"


def visualize(
    features: Annotated[
        str,
        typer.Option(
            "--features",
            help="0-63, 3,7,12, top-conceptual:32 or top-object:32 (with --scores), or a file with one a line.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the images, their records and contact.png.")],
    model: Annotated[str | None, typer.Option(help="Such as mini:clip; by default that of the index.")] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(help="Name, glob or slice; may be repeated. By default the last of the index, or those scored."),
    ] = None,
    index: Annotated[
        Path | None, typer.Option(help="An index of the model, against whose natural images each is held.")
    ] = None,
    scores: Annotated[Path | None, typer.Option(help="What `conceptprobe score --out` wrote, for top-*:N.")] = None,
    preset: Annotated[str, typer.Option(help="fourier, ghiasi, maco or accentuate.")] = "fourier",
    pooling: Annotated[
        str | None,
        typer.Option(help="mean, max, cls or the number of a patch; by default the index's first, else mean."),
    ] = None,
    specific: Annotated[
        bool, typer.Option("--specific", help="Activate each feature and no other of its layer as much; needs --index.")
    ] = False,
    steps: Annotated[int | None, typer.Option(help="By default the preset's.", min=1)] = None,
    size: Annotated[
        str | None, typer.Option(metavar="N|HxW", help="Of the images; by default the preset's or the model's.")
    ] = None,
    views: Annotated[int | None, typer.Option(help="Augmented copies a step; by default the preset's.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Where all randomness comes from.")] = 0,
    restarts: Annotated[int, typer.Option(help="Images of each feature, from different starts.", min=1)] = 1,
    batch: Annotated[
        int | None, typer.Option(help="Images optimised at once; by default by the device.", min=1)
    ] = None,
    animate: Annotated[Animation | None, typer.Option(help="Also write the optimisation as an animation.")] = None,
    compile_: Annotated[bool, typer.Option("--compile", help="Use torch.compile.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make images that activate features, and say how they compare with natural ones."""
    top = TOP.fullmatch(features)
    if top is not None and scores is None:
        raise typer.BadParameter(f"--features {features} needs --scores DIR, which `conceptprobe score --out` writes")
    if model is None and index is None:
        raise typer.BadParameter("give --model, or an --index of it")
    if specific and index is None:
        raise typer.BadParameter("--specific needs an --index, which says what is usual for every feature")
    shape = _shape(size)
    from conceptprobe.indexing import open_index
    from conceptprobe.models import load_model
    from conceptprobe.visualization.objectives import objectives
    from conceptprobe.visualization.optimization.presets import get_preset
    from conceptprobe.visualization.results.natural import check_index
    from conceptprobe.visualization.visualize import visualize as make

    chosen_preset = get_preset(preset)
    opened = None if index is None else open_index(index)
    loaded = load_model(_spec(model, opened), device=device)
    wanted = (
        _ranked(scores, str(top[1]), int(top[2]), loaded, layer)
        if top is not None and scores is not None
        else _listed(features, loaded, layer, opened)
    )
    if pooling is None:
        pooling = "mean" if opened is None else opened.manifest.pooling[0]
    if opened is not None:
        for name in {each.layer for each in wanted}:
            check_index(opened, loaded, name, pooling)
    targets = [
        objectives.specific(each, opened, pooling)
        if opened is not None and specific
        else objectives.feature(each, pooling=int(pooling) if pooling.isdecimal() else pooling)
        for each in wanted
    ]
    with resumable():
        made = make(
            loaded, targets, preset=chosen_preset, index=opened, steps=steps,
            size=shape, views=views, seed=seed, restarts=restarts, batch=batch, out=out,
            animate=None if animate is None else animate.value, compile=compile_, progress=True,
        )  # fmt: skip
    made.contact_sheet(opened).save(out / CONTACT)
    _print(made, out, as_json)


def _print(made: "Visualizations", out: Path, as_json: bool) -> None:
    if as_json:
        rows = json.loads(made.frame.to_json(orient="records", double_precision=15))
        said = {"out": str(out.resolve()), "contact": str((out / CONTACT).resolve()), "images": rows}
        typer.echo(json.dumps(said, ensure_ascii=False))
        return
    from conceptprobe.visualization.results.contact_sheet import caption

    width = max(len(caption(record)[0]) for record in made.records)
    for record in made.records:
        stopped = "" if record.stopped is None else f", stopped at step {record.stopped}: its loss was not finite"
        known = "" if record.natural is None else f", {caption(record)[1]}"
        typer.echo(f"{caption(record)[0]:{width}}  activation {record.activation:.4g}{known}{stopped}")
    typer.echo(f"{made}")
    typer.echo(f"images: {out.resolve()}")
    typer.echo(f"contact sheet: {(out / CONTACT).resolve()}")


def _spec(model: str | None, index: "Index | None") -> str:
    if model is not None:
        return model
    assert index is not None
    about = index.manifest.model
    if about.get("external"):
        raise typer.BadParameter(f"{index.path} is of activations from elsewhere: give --model")
    return str(about["spec"])


def _shape(size: str | None) -> tuple[int, int] | None:
    if size is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]*)(?:x([1-9][0-9]*))?", size)
    if match is None:
        raise typer.BadParameter(f"--size is {size!r}: write 224, or rows x columns such as 224x320")
    return int(match[1]), int(match[2] or match[1])


def _listed(
    features: str, model: "VisionModel", layers: Sequence[str] | None, index: "Index | None"
) -> list["FeatureId"]:
    """The features that a list or a file names, without repeats; numbers are of each layer."""
    from conceptprobe.feature import FeatureId

    texts = list(_entries(features))
    names: list[str] = []
    if any(RANGE.fullmatch(text) for text in texts):
        chosen = layers or (index and [index.layers[-1]])
        if not chosen:
            raise typer.BadParameter("give --layer, or an --index, or features such as blocks.5.mlp.hidden:12")
        names = [found.name for found in model.resolve(chosen)]
    wanted: list[FeatureId] = []
    for text in texts:
        match = RANGE.fullmatch(text)
        if match is None:
            wanted.append(FeatureId.parse(text))
            continue
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise typer.BadParameter(f"--features has {text}: a range goes upwards")
        for name in names:
            (described,) = model.resolve(name)
            if last >= described.width:
                raise typer.BadParameter(f"--features has {text}: {name} has features 0 to {described.width - 1}")
            wanted.extend(FeatureId(name, number) for number in range(first, last + 1))
    return list(dict.fromkeys(wanted))


def _entries(features: str) -> Iterator[str]:
    path = Path(features)
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        parts = [part for line in lines for part in line.partition("#")[0].replace(",", " ").split()]
        source = str(path)
    else:
        parts, source = [part.strip() for part in features.split(",")], "--features"
    if not parts:
        raise typer.BadParameter(f"{source} names no feature")
    for part in parts:
        if RANGE.fullmatch(part) is None and re.fullmatch(r".+:[0-9]+", part) is None:
            raise typer.BadParameter(
                f"{source} has {part!r}, which is no feature and no file: write 0-63, 3,7,12, "
                "blocks.5.mlp.hidden:12, top-conceptual:32 or the name of a file with one a line"
            )
        yield part


def _ranked(
    folder: Path, verdict: str, count: int, model: "VisionModel", layers: Sequence[str] | None
) -> list["FeatureId"]:
    """The features of a verdict that the scores are surest of: by q, then by the log-likelihood ratio."""
    from conceptprobe.concepts.scoring.scores import load_scores
    from conceptprobe.feature import FeatureId

    loaded = load_scores(folder)
    if loaded.settings["fingerprints"]["model"] != model.fingerprint:
        raise typer.BadParameter(f"{folder} scores {loaded.settings['model']}, which is not the model {model.spec}")
    frame: Any = loaded.frame[loaded.frame["verdict"] == verdict]
    if layers:
        frame = frame[frame["layer"].isin([found.name for found in model.resolve(layers)])]
    if frame.empty:
        raise typer.BadParameter(f"{folder} has no {verdict} features{' in these layers' if layers else ''}")
    if len(frame) < count:
        typer.echo(f"{folder} has {len(frame)} {verdict} features, fewer than {count}: all of them", err=True)
    best = frame.sort_values(["q", "llr"], ascending=[True, False], kind="stable").head(count)
    return [FeatureId(str(row.layer), int(row.feature)) for row in best.itertuples()]
