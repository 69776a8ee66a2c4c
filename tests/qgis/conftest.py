"""A real QgsApplication without a screen, in a home of its own, and the real worker."""

import os
import sys
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"

# Before Qt looks at them: settings, caches and results of the tests stay out of the user's home.
_HOME = Path(tempfile.mkdtemp(prefix="skysense-tests-"))
for _name in ("CONFIG", "DATA", "CACHE"):
    os.environ[f"XDG_{_name}_HOME"] = str(_HOME / _name.lower())
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.pop("SKYSENSE_PYTHON", None)
sys.path.insert(0, str(ROOT))

from qgis.core import QgsApplication, QgsProject, QgsSettings  # noqa: E402
from qgis.PyQt.QtCore import QCoreApplication, QEvent, QEventLoop, QTimer  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def qgis_app():
    app = QgsApplication([], True, str(_HOME / "profile"))
    app.initQgis()
    # An exception in a slot would abort the process; here it fails the test that is running.
    sys.excepthook = lambda kind, error, trace: _slot_errors.append(error)
    yield app


@pytest.fixture(scope="module")
def provider(qgis_app):
    """The plugin's algorithms, in Processing's registry."""
    from skysense_qgis.processing.provider import SkySenseProvider

    provider = SkySenseProvider()
    QgsApplication.processingRegistry().addProvider(provider)
    yield provider
    QgsApplication.processingRegistry().removeProvider(provider)


_slot_errors: list = []


@pytest.fixture(autouse=True)
def clean():
    """Each test starts with an empty project and default settings, and no slot may have raised in it."""
    QgsProject.instance().clear()
    QgsSettings().remove("skysense")
    _slot_errors.clear()
    yield
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    QgsProject.instance().clear()
    assert not _slot_errors, _slot_errors


@pytest.fixture(scope="session")
def python() -> str:
    """The backend's interpreter."""
    path = ROOT / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not path.exists():
        pytest.skip("the backend's environment .venv is not there (make env)")
    return str(path)


@pytest.fixture
def client(python):
    from skysense_qgis.worker.client import WorkerClient

    client = WorkerClient()
    yield client
    client.shutdown()


@pytest.fixture
def dock(client):
    """The panel, shown as tall as it is beside a canvas."""
    from iface import Iface

    from skysense_qgis.dock.dock import SkySenseDock

    dock = SkySenseDock(Iface(), client)
    dock.resize(560, 900)
    dock.show()
    yield dock
    dock.close_down()
    dock.deleteLater()


@pytest.fixture
def shared():
    if not SHARED.is_dir():
        pytest.skip("the shared sample data are not there")
    return SHARED


@pytest.fixture
def wait():
    """wait(condition, seconds): let Qt work until it holds."""
    return wait_for


def wait_for(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("waited in vain")
        loop = QEventLoop()
        QTimer.singleShot(10, loop.quit)
        loop.exec()


@pytest.fixture
def ask(client):
    """ask(method, params): the worker's result, or the Failure."""

    def ask(method, params):
        outcome = []
        client.request(method, params, outcome.append, outcome.append)
        wait_for(lambda: outcome)
        return outcome[0]

    return ask
