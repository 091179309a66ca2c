"""The reviewer's server listens on this machine alone, turns foreign names away and asks nobody outside."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from medcam.errors import ResultsError, UsageError
from medcam.review.server import command, environment, serve

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_other_addresses_are_refused(folder, address):
    with pytest.raises(UsageError, match="not-loopback"):
        serve(folder, free_port(), address=address)


def test_a_taken_port_and_a_foreign_folder_are_refused(folder, tmp_path):
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="port-taken"):
            serve(folder, taken.getsockname()[1])
    with pytest.raises(ResultsError, match="not-results"):
        serve(tmp_path, free_port())


def test_the_command_says_everything_that_matters(folder, tmp_path):
    line = command(folder, 8765, tmp_path, hidden=True)
    for flag in (
        "--server.address=127.0.0.1", "--server.port=8765", "--server.headless=true", "--browser.gatherUsageStats=false",
        "--client.showErrorDetails=none", "--server.fileWatcherType=none", "--server.enableXsrfProtection=true",
        "--server.allowedHosts=localhost", "--server.allowedHosts=127.0.0.1", "--server.enableAgentApi=false",
    ):  # fmt: skip
        assert flag in line, flag
    assert line[line.index("--") + 1 :] == [str(folder), "--source", str(tmp_path), "--hidden-first-read"]


def listening(port):
    """Addresses on which this machine listens at `port`, from the kernel's own tables."""
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == "0A" and int(local.split(":")[1], 16) == port:
                found.append(local.split(":")[0])
    return found


def websocket(port, **headers):
    """Status of a WebSocket handshake with these headers."""
    wanted = {
        "Host": f"localhost:{port}", "Upgrade": "websocket", "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13", **headers,
    }  # fmt: skip
    lines = ["GET /_stcore/stream HTTP/1.1", *(f"{name}: {value}" for name, value in wanted.items()), "", ""]
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as line:
        line.sendall("\r\n".join(lines).encode())
        return int(line.recv(4096).split()[1])


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs /proc/net/tcp")
def test_the_running_server_is_reachable_from_here_only(folder):
    port = free_port()
    code = (
        f"from pathlib import Path; from medcam.review.server import serve; exit(serve(Path({str(folder)!r}), {port}))"
    )
    variables = {**os.environ, "PYTHONPATH": environment()["PYTHONPATH"]}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables,
        start_new_session=True,
    )  # fmt: skip
    lines = []
    url = threading.Event()

    def read():
        for line in process.stdout:
            lines.append(line)
            if "http://" in line:
                url.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert url.wait(60), lines
        assert f"http://localhost:{port}" in "".join(lines)
        assert listening(port) == ["0100007F"], "127.0.0.1 and nothing else"
        with DIRECT.open(f"http://127.0.0.1:{port}/", timeout=20) as answer:
            page = answer.read().decode()
        assert not re.findall(r"(?:src|href)=.https?://", page)
        assert websocket(port, Origin=f"http://localhost:{port}") == 101
        assert websocket(port, Host="evil.example", Origin=f"http://localhost:{port}") >= 400
        assert websocket(port, Origin="http://evil.example") >= 400
        with pytest.raises(urllib.error.HTTPError):
            DIRECT.open(f"http://127.0.0.1:{port}/_stcore/agent/interact", b"{}", timeout=20)
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(30)
        reader.join(30)
        process.stdout.close()
    assert process.returncode == 0
    said = "".join(lines).lower()
    assert "traceback" not in said
    for word in ("usage statistics", "external url", "network url"):
        assert word not in said, word
