"""The reviewer's web server: this machine only, nothing reported to anybody, no request to the outside."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from medcam.errors import UsageError
from medcam.plugins import locate
from medcam.results import check_layout

LOOPBACK = "127.0.0.1"

SETTINGS: dict[str, str] = {
    "server.address": LOOPBACK,
    "server.headless": "true",
    "server.enableCORS": "true",
    "server.enableXsrfProtection": "true",
    "server.enableStaticServing": "false",
    "server.enableAgentApi": "false",
    "server.fileWatcherType": "none",
    "server.maxUploadSize": "1",
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",
    "client.toolbarMode": "minimal",
    "logger.hideWelcomeMessage": "true",
    "theme.primaryColor": "#2b6a99",
}
"""Streamlit's options as flags, which outrank every configuration file and variable of the user's."""

ALLOWED_HOSTS = ("localhost", LOOPBACK)
"""Names by which the server may be asked for: a foreign name that resolves to this machine is turned away."""

_NOWHERE = "http://127.0.0.1:9"
_STARTING_SECONDS = 60


def command(results: Path, port: int, source: Path | None = None, hidden: bool = False) -> list[str]:
    """The command line that starts the reviewer on this machine's loopback address."""
    app = locate("apps") / "reviewer" / "app.py"
    flags = [f"--{name}={value}" for name, value in SETTINGS.items()]
    flags += [f"--server.port={port}", *(f"--server.allowedHosts={host}" for host in ALLOWED_HOSTS)]
    arguments = [str(results.resolve())]
    if source is not None:
        arguments += ["--source", str(source.resolve())]
    if hidden:
        arguments.append("--hidden-first-read")
    return [sys.executable, "-m", "streamlit", "run", str(app), *flags, "--", *arguments]


def environment() -> dict[str, str]:
    """This process's variables, with a proxy that leads nowhere: whatever a library asks of the outside fails at once.

    Streamlit asks a public service for this machine's address when a foreign web page tries to connect.
    """
    blocked = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), _NOWHERE)
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, **blocked, "NO_PROXY": "localhost,127.0.0.1", "PYTHONPATH": path}


def serve(
    results: Path, port: int = 8501, source: Path | None = None, *, address: str = LOOPBACK, hidden: bool = False
) -> int:
    """Run the reviewer until it is stopped, and return its exit code.

    Args:
        results: the results folder.
        port: on this machine.
        source: where the originals lie now, if they were moved since the screening.
        address: only loopback: there is no log-in that would protect patients' images on a network.
        hidden: every case begins with a first read without the AI.

    Raises:
        UsageError: another address, or the port is taken.
        ResultsError: not a results folder.
    """
    if address not in ALLOWED_HOSTS:
        message = (
            f"The reviewer answers on {LOOPBACK} only, not on {address}; reach it from afar through an SSH tunnel."
        )
        raise UsageError("not-loopback", message)
    check_layout(results)
    if _answers(port):
        raise UsageError("port-taken", f"Port {port} is in use; choose another with --port.")
    with subprocess.Popen(command(results, port, source, hidden), env=environment()) as process:
        try:
            for _ in range(_STARTING_SECONDS * 10):
                if _answers(port) or process.poll() is not None:
                    break
                _pause(process)
            if process.poll() is None:
                print(f"The reviewer is at http://localhost:{port}  (stop it with Ctrl+C)", flush=True)
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            return 0


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def _pause(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(0.1)
    except subprocess.TimeoutExpired:
        return
