"""`conceptprobe serve`."""

from pathlib import Path
from typing import Annotated

import typer


def serve(
    folder: Annotated[Path, typer.Argument(help="A report that `conceptprobe report` wrote.")],
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any free port.", min=0, max=65535)] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to listen on. The default answers only this machine.")
    ] = "127.0.0.1",
) -> None:
    """Serve a report to a browser on this machine, or on another one through an SSH tunnel. Ctrl-C ends it."""
    from conceptprobe.report.serve import ReportServer

    with ReportServer(folder, port, host) as server:
        typer.echo(f"report: {server.url}")
        typer.echo(f"from another machine: {server.tunnel}")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("stopped", err=True)
