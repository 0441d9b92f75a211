"""Every command says in whole sentences what it and its options do."""

import pytest
import typer
from typer.testing import CliRunner

from conceptprobe.cli.main import app

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("index", "score")])
def test_commands_and_options_have_sentences(name: str) -> None:
    command = COMMANDS[name]
    assert command.help.strip().endswith(".")
    for parameter in command.params:
        text = getattr(parameter, "help", None)
        assert text is None or text.endswith((".", ".)")), f"{name} {parameter.name}: {text}"
        assert text or parameter.name == "help", f"{name} {parameter.name} has no help"
    assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0
