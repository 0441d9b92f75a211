"""`conceptprobe probe`."""

import ast
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from conceptprobe.probes import ProbeResult


def probe(
    name: Annotated[str, typer.Argument(help="Name of a probe, `all`, or `list` to see what there is.")],
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
    label: Annotated[str, typer.Option(help="The column with the right answers.")] = "label",
    class_map: Annotated[Path | None, typer.Option(help="A JSON from labels to class names.")] = None,
    masks: Annotated[Path | None, typer.Option(help="A folder of masks; by default the alpha channels.")] = None,
    template: Annotated[list[str] | None, typer.Option(help="A text with {} for zero-shot classes.")] = None,
    seed: Annotated[int, typer.Option(help="Where random draws come from.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder to write to; with `all`, a folder for each probe.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a probe.")] = False,
) -> None:
    """Test how models behave: what they attend to, what may be hidden or disturbed, which features survive."""
    from conceptprobe.concepts.scores import load_scores
    from conceptprobe.models import load_model
    from conceptprobe.probes import PROBES, ProbeError, run_probe
    from conceptprobe.probes.run import get_probe, make_settings

    if name == "list":
        for found in PROBES.values():
            typer.echo(f"{found.name:20} {found.question}")
        return
    if not model or images is None:
        raise typer.BadParameter("give at least one --model, and --images")
    settings = dict(parse_setting(text) for text in setting or [])
    chosen = list(PROBES) if name == "all" else [get_probe(name).name]
    if name == "all" and settings:
        raise typer.BadParameter("--set goes with one probe, not with all")
    for each in chosen:
        make_settings(PROBES[each], settings)
    loaded = [load_model(spec) for spec in model]
    verdicts = {found.settings["model"]: found for found in map(load_scores, scores or [])}
    if unknown := sorted(set(verdicts) - {each.spec for each in loaded}):
        raise ProbeError(f"scores are given for {unknown[0]}, which is none of the models {', '.join(model)}")
    options: dict[str, Any] = {
        "n": n or None, "label": label, "masks": masks, "templates": template or ("{}",), "layers": layer, "seed": seed,
        "class_map": None if class_map is None else json.loads(class_map.read_text(encoding="utf-8")),
        "scores": verdicts,
    }  # fmt: skip
    for each in chosen:
        try:
            result = run_probe(each, loaded, images, **options, **settings)
        except ProbeError as error:
            if name != "all":
                raise
            typer.echo(f"{each}: left out: {error}", err=True)
            continue
        if out is not None:
            result.save(out / each if name == "all" else out)
        show(result, as_json)
    if out is not None and not as_json:
        typer.echo(f"probes: {out.resolve()}")


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
