"""`conceptprobe probe`."""

import ast
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from conceptprobe.probes import ProbeResult

SET = "imagenet-"


def probe(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of a probe; one of ImageNet's other test sets: imagenet-v2, -sketch, -r, -a, -c, -real, with "
            "--images for its folder; `all`; or `list` to see what there is."
        ),
    ],
    model: Annotated[list[str] | None, typer.Option("--model", help="A model; may be repeated.")] = None,
    images: Annotated[str | None, typer.Option(help="An image source, as of `index build`.")] = None,
    n: Annotated[int, typer.Option("-n", "--n", help="How many images, drawn at random; 0 takes all.")] = 512,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE, a setting of the probe; may be repeated.")
    ] = None,
    scores: Annotated[
        list[Path] | None, typer.Option(help="What `score --out` wrote, for one of the models; may be repeated.")
    ] = None,
    layer: Annotated[list[str] | None, typer.Option(help="Layers whose features are followed.")] = None,
    pooling: Annotated[str, typer.Option(help="How these features are pooled: mean, max or cls.")] = "mean",
    label: Annotated[str, typer.Option(help="The column with the right answers.")] = "label",
    classes: Annotated[
        Path | None, typer.Option(help="The class names to choose from: a text file, a name a line, or a JSON list.")
    ] = None,
    class_map: Annotated[Path | None, typer.Option(help="A JSON from labels to class names.")] = None,
    masks: Annotated[Path | None, typer.Option(help="A folder of masks; by default the alpha channels.")] = None,
    template: Annotated[list[str] | None, typer.Option(help="A text with {} for zero-shot classes.")] = None,
    seed: Annotated[int, typer.Option(help="Where random draws come from.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder to write to; with `all`, a folder for each probe.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a probe.")] = False,
) -> None:
    """Test how models behave: what they attend to, what may be hidden or disturbed, which features survive."""
    from conceptprobe.concepts.scoring.scores import load_scores
    from conceptprobe.models import load_model
    from conceptprobe.output.tables import check_output
    from conceptprobe.probes import PROBES, ProbeError, run_probe
    from conceptprobe.probes.framework.cache import Memory
    from conceptprobe.probes.framework.result import NAME
    from conceptprobe.probes.framework.settings import make_probe_settings
    from conceptprobe.probes.imagenet_sets import SETS
    from conceptprobe.probes.run import get_probe

    if name == "list":
        for found in PROBES.values():
            typer.echo(f"{found.name:20} {found.question}")
        for each in SETS:
            typer.echo(f"{SET + each:20} How often is the model right on ImageNet's other test set of this name?")
        return
    if not model or images is None:
        raise typer.BadParameter("give at least one --model, and --images")
    settings = dict(parse_setting(text) for text in setting or [])
    if name.startswith(SET):
        given = {"--scores": scores, "--layer": layer, "--classes": classes, "--class-map": class_map, "--masks": masks}
        if unused := [option for option, value in given.items() if value]:
            raise typer.BadParameter(f"{unused[0]} does not go with {name}, whose classes and images are its own")
        check_output(out, NAME)
        finish(probe_set(name, model, images, settings, template, n=n or None, seed=seed), out, as_json)
        return
    chosen = list(PROBES) if name == "all" else [get_probe(name).name]
    if name == "all" and settings:
        raise typer.BadParameter("--set goes with one probe, not with all")
    for each in chosen:
        make_probe_settings(PROBES[each], settings)
        check_output(folder_of(out, name, each), NAME)
    loaded = [load_model(spec) for spec in model]
    verdicts = {found.settings["model"]: found for found in map(load_scores, scores or [])}
    if unknown := sorted(set(verdicts) - {each.spec for each in loaded}):
        raise ProbeError(f"scores are given for {unknown[0]}, which is none of the models {', '.join(model)}")
    options: dict[str, Any] = {
        "n": n or None, "label": label, "masks": masks, "templates": template or ("{}",), "layers": layer, "seed": seed,
        "pooling": pooling,
        "class_map": None if class_map is None else read_class_map(class_map), "scores": verdicts,
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
    """The folder of a probe's result: `all` makes one for each."""
    return out / probe if out is not None and name == "all" else out


def finish(result: "ProbeResult", out: Path | None, as_json: bool) -> None:
    """Write a result and print it."""
    if out is not None:
        result.save(out)
    show(result, as_json)
    if out is not None and not as_json:
        typer.echo(f"probe: {out.resolve()}")


def probe_set(
    name: str, models: list[str], images: str, settings: dict[str, Any], templates: list[str] | None, **options: Any
) -> "ProbeResult":
    """The result of one of ImageNet's other test sets."""
    from conceptprobe.probes.imagenet_sets import probe_imagenet_set

    allowed = ("severities",) if name == f"{SET}c" else ()
    if unknown := sorted({*settings} - {*allowed}):
        raise typer.BadParameter(f"{name} has no setting {unknown[0]!r}; it has {', '.join(allowed) or 'none'}")
    if templates:
        options["templates"] = templates
    folder = images.removeprefix("folder:")
    return probe_imagenet_set(name.removeprefix(SET), models, folder, **options, **settings)


def read_classes(path: Path) -> list[str]:
    """Class names from a file with one a line, or from a JSON list."""
    from conceptprobe.probes import ProbeError

    text = path.read_text(encoding="utf-8")
    names = read_json(path) if path.suffix == ".json" else [line.strip() for line in text.splitlines() if line.strip()]
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise ProbeError(f"{path} holds no list of two or more class names: a text file has a name a line")
    return names


def read_class_map(path: Path) -> dict[str, str]:
    """From labels to class names."""
    from conceptprobe.probes import ProbeError

    found = read_json(path)
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise ProbeError(f'{path} holds no class map: it takes a JSON object such as {{"n01443537": "goldfish"}}')
    return found


def read_json(path: Path) -> Any:
    """What a JSON file holds."""
    from conceptprobe.probes import ProbeError

    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ProbeError(f"{path} is no JSON: {error}") from error


def parse_setting(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value in Python's notation; what is none is taken as text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"--set takes NAME=VALUE, got {text!r}")
    try:
        parsed = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        parsed = value
    return name.strip(), tuple(parsed) if isinstance(parsed, list) else parsed


def show(result: "ProbeResult", as_json: bool) -> None:
    """Curves and differences, for people or for a script."""
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
