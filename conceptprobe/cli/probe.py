"""`conceptprobe probe`."""

import ast
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from conceptprobe.probes import ProbeResult

PREFIX = "imagenet-"


def probe(
    name: Annotated[
        str,
        typer.Argument(
            help="The name of a probe; a test set of ImageNet (imagenet-v2, -sketch, -r, -a, -c or -real, with its "
            "folder as --images); `all` for every probe; or `list` to print the names."
        ),
    ],
    model: Annotated[list[str] | None, typer.Option("--model", help="A model to probe; may be repeated.")] = None,
    images: Annotated[str | None, typer.Option(help="An image source, as for `index build`.")] = None,
    n: Annotated[int, typer.Option("-n", "--n", help="How many images, drawn at random; 0 takes all.")] = 512,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the probe as NAME=VALUE; may be repeated.")
    ] = None,
    scores: Annotated[
        list[Path] | None, typer.Option(help="A folder that `score --out` wrote for a model; may be repeated.")
    ] = None,
    layer: Annotated[list[str] | None, typer.Option(help="A layer to follow the features of; may be repeated.")] = None,
    pooling: Annotated[str, typer.Option(help="How the features are pooled: mean, max or cls.")] = "mean",
    label: Annotated[str, typer.Option(help="The column with the right answers.")] = "label",
    classes: Annotated[
        Path | None, typer.Option(help="A file of the class names to choose from: one name a line, or a JSON list.")
    ] = None,
    class_map: Annotated[Path | None, typer.Option(help="A JSON file that maps labels to class names.")] = None,
    masks: Annotated[Path | None, typer.Option(help="A folder of masks; by default the alpha channels.")] = None,
    template: Annotated[
        list[str] | None, typer.Option(help="A text with {} for zero-shot classes; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random draws.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write to; `all` makes a folder for each probe in it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each probe.")] = False,
) -> None:
    """Test how models behave: what they attend to, what may be hidden or disturbed, which features survive."""
    from conceptprobe.concepts.scoring.scores import load_scores
    from conceptprobe.output.tables import check_output
    from conceptprobe.probes import PROBES, ProbeError, run_probe
    from conceptprobe.probes.framework.cache import Memory
    from conceptprobe.probes.framework.result import NAME
    from conceptprobe.probes.framework.settings import make_probe_settings
    from conceptprobe.probes.imagenet_sets import SETS
    from conceptprobe.probes.run import check_scores, get_probe, load_models

    if name == "list":
        for known in PROBES.values():
            typer.echo(f"{known.name:20} {known.question}")
        for test_set in SETS:
            command = PREFIX + test_set
            typer.echo(f"{command:20} How often is the model right on ImageNet's other test set of this name?")
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
    for each in chosen:
        make_probe_settings(PROBES[each], settings)
        check_output(folder_of(out, name, each), NAME)
    loaded = load_models(model)
    by_model = {loaded_scores.settings["model"]: loaded_scores for loaded_scores in map(load_scores, scores or [])}
    check_scores(by_model, loaded)
    options: dict[str, Any] = {
        "n": n or None, "label": label, "masks": masks, "templates": template or ("{}",), "layers": layer, "seed": seed,
        "pooling": pooling,
        "class_map": None if class_map is None else read_class_map(class_map), "scores": by_model,
        "classes": None if classes is None else read_classes(classes), "memory": Memory(),
    }  # fmt: skip
    for each in chosen:
        try:
            result = run_probe(each, loaded, images, **options, **settings)
        except ProbeError as error:
            if name != "all":
                raise
            typer.echo(f"{each}: left out: {error}", err=True)
            continue
        finish(result, folder_of(out, name, each), as_json)


def folder_of(out: Path | None, name: str, probe: str) -> Path | None:
    """The folder of a probe's result; with `all`, each probe has one."""
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


def read_classes(path: Path) -> list[str]:
    """Class names from a file with one name a line, or from a JSON list.

    Raises:
        ProbeError: The file holds no list of two or more names.
    """
    from conceptprobe.probes import ProbeError

    text = path.read_text(encoding="utf-8")
    names = read_json(path) if path.suffix == ".json" else [line.strip() for line in text.splitlines() if line.strip()]
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise ProbeError(
            f"{path} holds no list of two or more class names: give a text file with one name a line, or a JSON list"
        )
    return names


def read_class_map(path: Path) -> dict[str, str]:
    """The class name of each label, from a JSON file.

    Raises:
        ProbeError: The file holds no JSON object of texts.
    """
    from conceptprobe.probes import ProbeError

    names = read_json(path)
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise ProbeError(f'{path} holds no class map: give a JSON object such as {{"n01443537": "goldfish"}}')
    return names


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ProbeError: The file is no JSON.
    """
    from conceptprobe.probes import ProbeError

    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ProbeError(f"{path} is no JSON: {error}") from error


def parse_setting(text: str) -> tuple[str, Any]:
    """NAME=VALUE as a name and a value in Python's notation; a value in no such notation is text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"--set takes NAME=VALUE, got {text!r}")
    try:
        parsed = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        parsed = value
    return name.strip(), tuple(parsed) if isinstance(parsed, list) else parsed


def show(result: "ProbeResult", as_json: bool) -> None:
    """Print curves and differences, for people or for a script."""
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
