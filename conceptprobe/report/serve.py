"""A web server for one report, for browsing on another machine through an SSH tunnel."""

import ipaddress
import socket
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from conceptprobe.report.errors import ReportError
from conceptprobe.report.output_folder import is_report

LOOPBACK = "127.0.0.1"
PORT = 8000
TYPES = {
    "": "application/octet-stream",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".gif": "image/gif",
    ".md": "text/plain; charset=utf-8",
}


class ReportHandler(SimpleHTTPRequestHandler):
    """Serves the files of a report, but no lists of folders and no hidden files."""

    extensions_map = TYPES
    server: "ReportServer"

    def send_head(self) -> Any:
        """Answer a request unless its host name is foreign or its path hidden."""
        if not self.server.accepts(self.headers.get("Host", "")):
            self.send_error(403, "Open this report at the address that conceptprobe serve printed")
            return None
        inside = Path(self.translate_path(self.path)).relative_to(self.directory).parts
        if any(name.startswith(".") for name in inside):
            self.send_error(404)
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> None:
        """Refuse to list a folder."""
        self.send_error(404)

    def end_headers(self) -> None:
        """Add headers that forbid caching and guessing of types."""
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing for a request."""


class ReportServer(ThreadingHTTPServer):
    """A web server of one report.

    Args:
        folder: The folder of the report.
        port: The port to listen on; 0 for any free port.
        host: The address to listen on; by default the server answers only this machine.

    Raises:
        ReportError: The folder is not a report, or the port or address is not available.
    """

    daemon_threads = True

    def __init__(self, folder: Path | str, port: int = PORT, host: str = LOOPBACK) -> None:
        self.folder = Path(folder).resolve()
        if not is_report(self.folder):
            raise ReportError(f"{folder} is not a report of conceptprobe: make one with `conceptprobe report INDEX...`")
        if ":" in host:
            self.address_family = socket.AF_INET6

        def handle(*arguments: Any) -> ReportHandler:
            return ReportHandler(*arguments, directory=str(self.folder))

        try:
            super().__init__((host, port), handle)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise ReportError(
                f"cannot listen on {host} port {port} ({why}): give another --port, or --port 0 for any free one"
            ) from error

    @property
    def address(self) -> str:
        """The address that the server listens on."""
        return str(self.socket.getsockname()[0])

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return int(self.socket.getsockname()[1])

    @property
    def url(self) -> str:
        """The address to open on this machine."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}/"

    @property
    def tunnel(self) -> str:
        """The command that makes `url` work on another machine."""
        return f"ssh -N -L {self.port}:{self.address}:{self.port} {socket.gethostname()}"

    def accepts(self, host: str) -> bool:
        """Whether the Host header of a request names an address of this server.

        Otherwise a foreign page whose host name resolves to this machine (DNS rebinding) could read the report.
        """
        if not ipaddress.ip_address(self.address).is_loopback:
            return True
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        return name.strip("[]").lower() in ("localhost", self.address)
