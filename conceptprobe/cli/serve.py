"""`conceptprobe serve`."""

from pathlib import Path
from typing import Annotated

import typer


def serve(
    folder: Annotated[Path, typer.Argument(metavar="REPORT", help="A folder that `conceptprobe report` wrote.")],
    port: Annotated[int, typer.Option(help="Listen on this port; 0 chooses any free one.", min=0, max=65535)] = 8000,
    host: Annotated[
        str, typer.Option(help="Listen on this address; by default only this machine can reach the report.")
    ] = "127.0.0.1",
) -> None:
    """Serve a report to a browser, on this machine or at the other end of an SSH tunnel.

    The address and the command of the tunnel are printed. Ctrl-C stops the server.
    """
    from conceptprobe.report.serve import ReportServer

    with ReportServer(folder, port, host) as server:
        typer.echo(f"report: {server.url}")
        typer.echo(f"from another machine: {server.tunnel}")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("stopped", err=True)
