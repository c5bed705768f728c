import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from registry.errors import IntegrityError, SettingsError

LOAD = """
import sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
print(mlflow.pyfunc.load_model("models:/support@champion").predict(["a", "b"]))
"""
QUIET = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "2",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A real tracking server on a free loopback port."""
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--artifacts-destination", f"{tmp_path}/files"]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *arguments, *stores], stdout=log, stderr=log, start_new_session=True
        )
    uri = f"http://127.0.0.1:{port}"
    try:
        _wait(uri, process)
        yield uri, process
    finally:
        _stop(process)


def _wait(uri, process):
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{uri}/health", timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    pytest.fail("the MLflow server did not start")


def _stop(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


@pytest.mark.server
def test_everything_works_against_a_tracking_server(server, toys, tmp_path, capfd):
    uri, process = server
    bench = toys.open(tmp_path / "home", uri=uri)
    capfd.readouterr()
    bench.champion("one", answer="first", metrics={"score": 0.5})
    version = bench.champion("two", answer="second")
    assert bench.candidate("two") == version
    assert (version.version, version.aliases, version.stage) == ("2", ["champion"], "production")
    folder = bench.registry.load("support", "champion")
    assert folder.is_relative_to(bench.home.cache)
    assert bench.registry.load("support", "champion") == folder
    assert bench.registry.tracking.artifact(version.run_id, "decision.json").is_file()

    done = subprocess.run([sys.executable, "-c", LOAD, uri], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.stdout.strip(), done.returncode) == ("['second', 'second']", 0), done.stderr

    assert bench.transitions.rollback("support", "worse", toys.actor).version == "1"
    (folder / "answer.json").write_text("{}")
    with pytest.raises(IntegrityError, match="E7925"):
        bench.registry.load("support", "2")
    with bench.serving.taken(bench.registry.get("support", "2")) as copy:  # what is not as signed is fetched anew
        assert "second" in (copy.artifact / "answer.json").read_text()
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")

    _stop(process)
    started = time.monotonic()
    with pytest.raises(SettingsError, match=r"E7830: the MLflow server .* stopped answering"):
        bench.registry.versions("support")
    assert time.monotonic() - started < 20
    bench.history.close()
