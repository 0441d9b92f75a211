"""Settings, class names and class maps that `conceptprobe probe` is given as text or files."""

import ast
import json
from pathlib import Path
from typing import Any

import typer

from conceptprobe.probes.errors import ProbeError


def parse_setting(text: str) -> tuple[str, Any]:
    """Split NAME=VALUE; the value is read in Python's notation, or else taken as text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"--set is {text!r}: write NAME=VALUE")
    try:
        parsed = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        parsed = value
    return name.strip(), tuple(parsed) if isinstance(parsed, list) else parsed


def read_classes(path: Path) -> list[str]:
    """Class names from a text file with one in each line, or from a JSON list."""
    text = _read_text(path)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    names = _parse_json(path, text) if path.suffix == ".json" else lines
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise ProbeError(f"{path} holds no list of two or more class names: write one name in each line")
    return names


def read_class_map(path: Path) -> dict[str, str]:
    """Class names by label, from a JSON object."""
    names = _parse_json(path, _read_text(path))
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise ProbeError(f'{path} holds no class map: write a JSON object such as {{"n01443537": "goldfish"}}')
    return names


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ProbeError(f"{path} is not a text in UTF-8: save it as one") from error


def _parse_json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ProbeError(f"{path} is not JSON: {error}") from error
