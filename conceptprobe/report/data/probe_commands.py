"""The command and the lines of Python that reproduce a probe's result."""

import ast
from collections.abc import Sequence
from typing import Any

from conceptprobe.probes import PROBES
from conceptprobe.probes.framework.result import ProbeResult
from conceptprobe.report.collect.models import ReportModel, plain_name
from conceptprobe.report.data.commands import command


def probe_command(result: ProbeResult, models: Sequence[ReportModel], folder: str) -> str | None:
    """The command that reproduces a result; None if no command does, or the result does not say how it was made.

    The command calls the user's files of classes and of a class map CLASSES and CLASS_MAP.
    """
    about, request = result.about, result.about.get("asked")
    if request is None or result.probe not in PROBES:
        return None
    words: list[Any] = ["probe", result.probe]
    words += [word for model in about["models"] for word in ("--model", model["spec"])]
    words += ["--images", about["source"]["spec"], "-n", request["n"] or 0]
    for name, value in changed_settings(result).items():
        words += ["--set", f"{name}={setting_text(value)}"]
    for spec in request["scores"]:
        words += ["--scores", scores_folder(spec, models)]
    words += [word for layer in request["layers"] or () for word in ("--layer", layer)]
    words += [word for text in request["templates"] if text != "{}" for word in ("--template", text)]
    words += ["--pooling", about["pooling"]] if about["pooling"] != "mean" else []
    words += ["--label", request["label"]] if request["label"] != "label" else []
    words += ["--masks", request["masks"]] if request["masks"] else []
    words += ["--classes", "CLASSES"] if request["own_classes"] else []
    words += ["--class-map", "CLASS_MAP"] if request["class_map"] else []
    return command([*words, "--seed", about["seed"], "--out", folder])


def probe_python(result: ProbeResult, models: Sequence[ReportModel], folder: str) -> list[str]:
    """Lines that reproduce a result, if `run_probe` can, or else load it."""
    about, request = result.about, result.about.get("asked")
    if request is None or result.probe not in PROBES:
        return [
            "from conceptprobe.probes import load_probe",
            "",
            f"result = load_probe({folder!r})",
            "print(result.curves)",
        ]
    scores = request["scores"]
    options: dict[str, str] = {"n": repr(request["n"])}
    options |= {name: repr(value) for name, value in changed_settings(result).items()}
    if scores:
        loaded = ", ".join(f"{spec!r}: cp.load_scores({scores_folder(spec, models)!r})" for spec in scores)
        options["scores"] = f"{{{loaded}}}"
    for name, default in (("layers", None), ("templates", ["{}"]), ("label", "label"), ("masks", None)):
        if request[name] != default:
            options[name] = repr(request[name])
    if about["pooling"] != "mean":
        options["pooling"] = repr(about["pooling"])
    options |= {"classes": "classes"} if request["own_classes"] else {}
    options |= {"class_map": "class_map"} if request["class_map"] else {}
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
    """The settings of a result that differ from the defaults of its probe."""
    settings = {name: tupled(value) for name, value in result.about["settings"].items()}
    defaults = vars(PROBES[result.probe].settings())
    return {name: value for name, value in settings.items() if name not in defaults or tupled(defaults[name]) != value}


def tupled(value: Any) -> Any:
    """Turn nested lists into tuples, which JSON stores as lists."""
    return tuple(map(tupled, value)) if isinstance(value, list | tuple) else value


def setting_text(value: Any) -> str:
    """Write a value for `--set`: a Python literal, or the bare text if that is not read as another literal."""
    if not isinstance(value, str):
        return repr(value)
    try:
        ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return repr(value)


def scores_folder(spec: str, models: Sequence[ReportModel]) -> str:
    """The folder that the commands of the report use for the scores of a model."""
    scored = [model for model in models if model.index.manifest.model.spec == spec and model.scores is not None]
    return f"scores-{scored[0].key if scored else plain_name(spec.partition(':')[2] or spec)}"
