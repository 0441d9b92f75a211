"""The command and the lines of Python that give a probe's result once more."""

import ast
from collections.abc import Sequence
from typing import Any

from conceptprobe.probes import PROBES
from conceptprobe.probes.framework.result import ProbeResult
from conceptprobe.report.collect.models import ReportModel, plain_name
from conceptprobe.report.data.commands import command


def probe_command(result: ProbeResult, models: Sequence[ReportModel], folder: str) -> str | None:
    """The command that makes a result again; None where none does, or what was asked was not kept.

    Classes of one's own and a class map are files of the caller's, and are called CLASSES and CLASS_MAP.
    """
    about, asked = result.about, result.about.get("asked")
    if asked is None or result.probe not in PROBES:
        return None
    words: list[Any] = ["probe", result.probe]
    words += [word for model in about["models"] for word in ("--model", model["spec"])]
    words += ["--images", about["source"]["spec"], "-n", asked["n"] or 0]
    for name, value in changed_settings(result).items():
        words += ["--set", f"{name}={setting_text(value)}"]
    for spec in asked["scores"]:
        words += ["--scores", scores_folder(spec, models)]
    words += [word for layer in asked["layers"] or () for word in ("--layer", layer)]
    words += [word for text in asked["templates"] if text != "{}" for word in ("--template", text)]
    words += ["--pooling", about["pooling"]] if about["pooling"] != "mean" else []
    words += ["--label", asked["label"]] if asked["label"] != "label" else []
    words += ["--masks", asked["masks"]] if asked["masks"] else []
    words += ["--classes", "CLASSES"] if asked["own_classes"] else []
    words += ["--class-map", "CLASS_MAP"] if asked["class_map"] else []
    return command([*words, "--seed", about["seed"], "--out", folder])


def probe_python(result: ProbeResult, models: Sequence[ReportModel], folder: str) -> list[str]:
    """Lines that make a result again where `run_probe` does, and that read it."""
    about, asked = result.about, result.about.get("asked")
    if asked is None or result.probe not in PROBES:
        return [
            "from conceptprobe.probes import load_probe",
            "",
            f"result = load_probe({folder!r})",
            "print(result.curves)",
        ]
    scores = asked["scores"]
    options: dict[str, str] = {"n": repr(asked["n"])}
    options |= {name: repr(value) for name, value in changed_settings(result).items()}
    if scores:
        own = ", ".join(f"{spec!r}: cp.load_scores({scores_folder(spec, models)!r})" for spec in scores)
        options["scores"] = f"{{{own}}}"
    for name, default in (("layers", None), ("templates", ["{}"]), ("label", "label"), ("masks", None)):
        if asked[name] != default:
            options[name] = repr(asked[name])
    if about["pooling"] != "mean":
        options["pooling"] = repr(about["pooling"])
    options |= {"classes": "classes"} if asked["own_classes"] else {}
    options |= {"class_map": "class_map"} if asked["class_map"] else {}
    options["seed"] = repr(about["seed"])
    return [
        "import conceptprobe as cp" if scores else "from conceptprobe.probes import load_probe, run_probe",
        *(["from conceptprobe.probes import load_probe, run_probe"] if scores else []),
        "",
        "result = run_probe(",
        f"    {result.probe!r}, {[model['spec'] for model in about['models']]!r}, {about['source']['spec']!r},",
        *(f"    {name}={text}," for name, text in options.items()),
        ")",
        f"result.save({folder!r})  # read again by load_probe({folder!r})",
        "print(result.curves)",
    ]


def changed_settings(result: ProbeResult) -> dict[str, Any]:
    """The settings of a probe that are not its own."""
    settings = {name: tupled(value) for name, value in result.about["settings"].items()}
    defaults = vars(PROBES[result.probe].settings())
    return {name: value for name, value in settings.items() if name not in defaults or tupled(defaults[name]) != value}


def tupled(value: Any) -> Any:
    """Lists as tuples, also those in them: JSON knows no tuples."""
    return tuple(map(tupled, value)) if isinstance(value, list | tuple) else value


def setting_text(value: Any) -> str:
    """A value as `--set` reads it: in Python's notation, a text bare where that is read as the text."""
    if not isinstance(value, str):
        return repr(value)
    try:
        ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return repr(value)


def scores_folder(spec: str, models: Sequence[ReportModel]) -> str:
    """What the commands of the report call the scores of a model."""
    own = [model for model in models if model.index.manifest.model.spec == spec and model.scores is not None]
    return f"scores-{own[0].key if own else plain_name(spec.partition(':')[2] or spec)}"
