"""A headless Chromium, a page without a network, and a real JupyterLab server."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
#: A click is the gesture that browsers want before sound; headless Chromium would otherwise not ask for one.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--autoplay-policy=user-gesture-required"]


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module")  # not longer: while it lives, its event loop runs in this thread
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    executable = next(filter(None, map(shutil.which, names)), None)
    if executable is None:
        pytest.skip(f"needs a Chromium on the path (looked for {', '.join(names)})")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def offline_page(chromium):
    """A page that cannot reach any network and fails the test on any script error."""
    context = chromium.new_context(viewport={"width": 1050, "height": 900}, offline=True)
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: (errors.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    yield page
    context.close()
    assert not errors


def make_tone(i: int) -> tuple[np.ndarray, int]:
    """Five seconds of a decaying tone, another pitch for each i: a busy machine must not miss that it sounds."""
    t = np.arange(5 * 16000) / 16000
    return (0.3 * np.sin(2 * np.pi * (220 + 10 * (i % 60)) * t) * np.exp(-t / 3)).astype(np.float32), 16000


@pytest.fixture(scope="session")
def tone():
    return make_tone


@pytest.fixture(scope="session")
def clusters():
    """n -> (z (n, 16), table): five classes that lie apart."""

    def make(n: int):
        rng = np.random.default_rng(0)
        label = rng.integers(0, 5, n)
        z = rng.normal(size=(5, 16))[label] * 6 + rng.normal(size=(n, 16))
        names = np.array(["belt", "breathy", "lip trill", "straight", "vibrato"])
        singer = [f"singer {i % 7}" for i in range(n)]
        f0 = 110 * 2 ** rng.uniform(0, 2, n)
        table = {"id": [f"clip {i:05d}" for i in range(n)], "label": names[label], "singer": singer, "f0": f0}
        return z, pd.DataFrame(table)

    return make


@pytest.fixture(scope="session")
def serve(tmp_path_factory):
    """Starts a server and waits for it: ``serve(command, folder, environment, path)`` -> address of the server.

    "{port}" in the command becomes a free port; the server answers when something lies at the path.
    """
    servers = []

    def start(command: list[str], folder: Path, own: dict[str, str], path: str) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        environment = os.environ | own
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        log = tmp_path_factory.mktemp("server") / "log"
        with log.open("w") as output:
            command = [part.replace("{port}", str(port)) for part in command]
            server = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        servers.append(server)
        _wait_for(f"http://127.0.0.1:{port}{path}", server, log)
        return f"http://127.0.0.1:{port}"

    yield start
    for server in servers:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


@pytest.fixture(scope="session")
def lab(tmp_path_factory, serve):
    """(url with token, folder) of a JupyterLab server of its own, configuration and data included."""
    pytest.importorskip("jupyterlab", reason="needs jupyterlab")
    folder, home = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("jupyter")
    settings = home / "config" / "labconfig" / "page_config.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}))
    own = {f"JUPYTER_{part.upper()}_DIR": str(home / part) for part in ("config", "data", "runtime")}
    options = [
        "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", "--ServerApp.port={port}",
        "--ServerApp.port_retries=0", "--IdentityProvider.token=test", f"--ServerApp.root_dir={folder}",
        "--LabApp.expose_app_in_browser=True",
    ]  # fmt: skip
    command = [sys.executable, "-m", "jupyterlab", *options]
    address = serve(command, folder, own | {"IPYTHONDIR": str(home / "ipython")}, "/api?token=test")
    return f"{address}/lab/tree/{{}}?token=test&reset", folder


def _wait_for(url: str, server: subprocess.Popen, log: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert server.poll() is None, f"the server ended with {server.returncode}: {log.read_text()[-2000:]}"
        try:
            urllib.request.urlopen(url, timeout=2)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise AssertionError(f"no answer from {url} in {seconds:.0f} s: {log.read_text()[-2000:]}")
