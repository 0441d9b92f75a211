import http.client
import socket
import threading

import pytest

from conceptprobe.report import ReportError
from conceptprobe.report.output_folder import MARKER
from conceptprobe.report.serve import ReportServer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parent") / "report"
    (folder / "data").mkdir(parents=True)
    (folder / MARKER).write_text("{}")
    (folder / "index.html").write_text("<p>hello")
    (folder / "data" / "a.js").write_text("1")
    (folder / "tile.webp").write_bytes(b"x")
    (folder / ".secret").write_text("no")
    (folder.parent / "outside.txt").write_text("no")
    return folder


@pytest.fixture(scope="module")
def server(folder):
    with ReportServer(folder, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, path, host=None):
    connection = http.client.HTTPConnection(server.address, server.port, timeout=10)
    connection.request("GET", path, headers={} if host is None else {"Host": host})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, response.headers["Content-Type"], body


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/index.html?x#y", "text/html; charset=utf-8"),
        ("/data/a.js", "text/javascript; charset=utf-8"),
        ("/tile.webp", "image/webp"),
    ],
)
def test_files_have_their_type(server, path, kind):
    status, found, body = ask(server, path)
    assert (status, found) == (200, kind)
    assert body


@pytest.mark.parametrize(
    "path", ["/data/", "/.secret", "/../outside.txt", "/%2e%2e/outside.txt", "/data/../.secret", "/no"]
)
def test_nothing_else_is_given(server, path):
    status, _, body = ask(server, path)
    assert status == 404
    assert b"no\n" not in body
    assert b"a.js" not in body


def test_only_this_machine_is_listened_to(server):
    assert server.address == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.port}/"
    assert server.tunnel == f"ssh -N -L {server.port}:127.0.0.1:{server.port} {socket.gethostname()}"
    for host in ("localhost", f"localhost:{server.port}", f"127.0.0.1:{server.port}"):
        assert ask(server, "/", host)[0] == 200
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example"):
        assert ask(server, "/", host)[0] == 403


def test_what_is_no_report_and_a_taken_port_are_refused(server, folder):
    with pytest.raises(ReportError, match="is not a report of conceptprobe"):
        ReportServer(folder.parent, 0)
    with pytest.raises(ReportError, match=f"port {server.port} .*--port 0"):
        ReportServer(folder, server.port)
