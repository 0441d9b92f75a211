"""`conceptprobe probe`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conceptprobe.cli.options import Json, ScoreFolders, Seed

if TYPE_CHECKING:
    from conceptprobe.probes import ProbeResult

PREFIX = "imagenet-"


def probe(
    name: Annotated[
        str,
        typer.Argument(
            help="The name of a probe, 'all' for every probe, 'list' to see what there is, or one of ImageNet's other "
            "test sets (imagenet-v2, -sketch, -r, -a, -c, -real), whose folder --images gives."
        ),
    ],
    model: Annotated[list[str] | None, typer.Option("--model", help="Probe this model; may be repeated.")] = None,
    images: Annotated[
        str | None, typer.Option(help="Use the images of this source, such as mini:emoji or folder:PATH.")
    ] = None,
    n: Annotated[int, typer.Option("-n", "--n", help="Use this many images, drawn at random; 0 uses all.")] = 512,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a setting of the probe; may be repeated."),
    ] = None,
    scores: ScoreFolders = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(help="Follow the features of this layer through the changes; may be repeated."),
    ] = None,
    pooling: Annotated[str, typer.Option(help="The pooling of these features: mean, max or cls.")] = "mean",
    label: Annotated[str, typer.Option(help="The column of the image source that holds the right answers.")] = "label",
    classes: Annotated[
        Path | None,
        typer.Option(help="Choose from the class names in this file: a text with one in each line, or a JSON list."),
    ] = None,
    class_map: Annotated[
        Path | None, typer.Option(help="A JSON file from labels to class names, where they differ.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="A folder of object masks; by default the alpha channels of the images.")
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(help="Put zero-shot class names into this text, such as 'a photo of a {}'; may be repeated."),
    ] = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="Write the result to this folder; with 'all', each probe gets a folder in it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Test how models behave.

    Probes show what models attend to, how they answer when images are hidden or disturbed, and which features survive
    that. `conceptprobe probe list` names them with their questions.
    """
    from conceptprobe.cli.probe_inputs import parse_setting, read_class_map, read_classes
    from conceptprobe.concepts.scoring.scores import load_scores
    from conceptprobe.output.tables import check_output
    from conceptprobe.probes import PROBES, ProbeError, run_probe
    from conceptprobe.probes.framework.cache import Memory
    from conceptprobe.probes.framework.result import NAME
    from conceptprobe.probes.framework.settings import make_probe_settings
    from conceptprobe.probes.imagenet_sets import SETS
    from conceptprobe.probes.run import check_scores, get_probe, load_models

    if name == "list":
        questions = {known.name: known.question for known in PROBES.values()}
        set_question = "How often is the model right on ImageNet's other test set of this name?"
        questions |= {PREFIX + test_set: set_question for test_set in SETS}
        lines = (f"{known:20} {question}" for known, question in questions.items())
        typer.echo(json.dumps(questions) if as_json else "\n".join(lines))
        return
    if not model or images is None:
        raise typer.BadParameter("give at least one --model, and --images")
    settings = dict(parse_setting(text) for text in setting or [])
    if name.startswith(PREFIX):
        others = {
            "--scores": scores, "--layer": layer, "--classes": classes, "--class-map": class_map, "--masks": masks
        }  # fmt: skip
        if unused := [option for option, value in others.items() if value]:
            raise typer.BadParameter(f"{unused[0]} does not go with {name}, which has its own classes and images")
        check_output(out, NAME)
        finish(probe_test_set(name, model, images, settings, template, n=n or None, seed=seed), out, as_json)
        return
    chosen = list(PROBES) if name == "all" else [get_probe(name).name]
    if name == "all" and settings:
        raise typer.BadParameter("--set goes with one probe, not with all: name the probe")
    for probe_name in chosen:
        make_probe_settings(PROBES[probe_name], settings)
        check_output(output_folder(out, name, probe_name), NAME)
    loaded = load_models(model)
    scores_by_model = {result.settings["model"]: result for result in map(load_scores, scores or [])}
    check_scores(scores_by_model, loaded)
    run_options: dict[str, Any] = {
        "n": n or None, "label": label, "masks": masks, "templates": template or ("{}",), "layers": layer, "seed": seed,
        "pooling": pooling, "scores": scores_by_model, "memory": Memory(),
        "class_map": None if class_map is None else read_class_map(class_map),
        "classes": None if classes is None else read_classes(classes),
    }  # fmt: skip
    for probe_name in chosen:
        try:
            result = run_probe(probe_name, loaded, images, **run_options, **settings)
        except ProbeError as error:
            if name != "all":
                raise
            typer.echo(f"{probe_name} was left out: {error}", err=True)
            continue
        finish(result, output_folder(out, name, probe_name), as_json)


def output_folder(out: Path | None, name: str, probe: str) -> Path | None:
    """The folder of a probe's result: `all` makes one for each probe."""
    return out / probe if out is not None and name == "all" else out


def finish(result: "ProbeResult", out: Path | None, as_json: bool) -> None:
    """Write a result and print it."""
    if out is not None:
        result.save(out)
    show(result, as_json)
    if out is not None and not as_json:
        typer.echo(f"probe: {out.resolve()}")


def probe_test_set(
    name: str, models: list[str], images: str, settings: dict[str, Any], templates: list[str] | None, **options: Any
) -> "ProbeResult":
    """The result of a test set of ImageNet."""
    from conceptprobe.probes.imagenet_sets import probe_imagenet_set

    allowed = ("severities",) if name == f"{PREFIX}c" else ()
    if unknown := sorted({*settings} - {*allowed}):
        raise typer.BadParameter(f"{name} has no setting {unknown[0]!r}. Settings: {', '.join(allowed) or 'none'}")
    if templates:
        options["templates"] = templates
    folder = images.removeprefix("folder:")
    return probe_imagenet_set(name.removeprefix(PREFIX), models, folder, **options, **settings)


def show(result: "ProbeResult", as_json: bool) -> None:
    """Print the curves and differences of a result as text or as JSON."""
    if as_json:
        tables = {
            name: json.loads(getattr(result, name).to_json(orient="records")) for name in ("curves", "differences")
        }
        typer.echo(
            json.dumps({"probe": result.probe, **tables, "about": result.about}, ensure_ascii=False, default=str)
        )
        return
    typer.echo(f"{result}\n{result.question}")
    for row in result.curves.itertuples():
        typer.echo(
            f"  {row.model:24} {row.metric:18} {row.series:16} {row.x:8.4g}  {row.value:9.4f}  "
            f"[{row.low:.4f}, {row.high:.4f}]  n {row.n}"
        )
    for text in result.caveats:
        typer.echo(f"note: {text}")
