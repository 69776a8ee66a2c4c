"""A real QGIS desktop without a screen: a fresh profile with the plugin enabled, and a driver that uses it.

Run outside QGIS, by the backend's Python. `drive` starts Xvfb and QGIS, has `driver.py` follow a plan in it, and gives
back what the driver reports.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SCREEN = (1600, 1000)
_CLOSING_S = 20.0

#: Of this shell, what must not reach QGIS, which has a Python of its own.
_DROPPED = ("PYTHON", "VIRTUAL_ENV", "CONDA_", "QGIS_", "QT_", "GDAL_", "PROJ_", "DISPLAY", "WAYLAND_DISPLAY")
_SETTINGS = """\
[PythonPlugins]
skysense_qgis=true

[locale]
overrideFlag=true
userLocale=en_US

[app]
askToSaveMemoryLayers=false

[qgis]
checkVersion=false
newsFeed\\disabled=true
"""


class DemoError(Exception):
    """The demo cannot go on; one sentence."""


def drive(
    plan: dict[str, Any], folder: Path, *, plugin_parent: Path = ROOT, timeout_s: float = 1200
) -> dict[str, Any]:
    """Have QGIS follow a plan.

    Args:
        plan: what `driver.py` is to do; see `Plan` there.
        folder: for the profile, the logs and the driver's report; what an earlier drive left in it is replaced.
        plugin_parent: the folder that holds the plugin's folder `skysense_qgis`.
        timeout_s: a last guard; the driver itself notices much earlier when nothing moves.

    Returns:
        The driver's report, and "ended": QGIS closed by itself after it.

    Raises:
        DemoError: QGIS or the driver failed; the sentence says where the log is.
    """
    for name in ("profile", "cache", "data"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
    settings = folder / "profile" / "profiles" / "default" / "QGIS" / "QGIS3.ini"
    settings.parent.mkdir(parents=True)
    settings.write_text(_SETTINGS, encoding="utf-8")
    report, log = folder / "report.json", folder / "qgis.log"
    report.unlink(missing_ok=True)
    plan_file = folder / "plan.json"
    plan = {**plan, "code": str(Path(__file__).parent), "report": str(report), "screen": SCREEN}
    plan_file.write_text(json.dumps(plan, indent=1), encoding="utf-8")
    command = [
        "xvfb-run", "-a", "-s", f"-screen 0 {SCREEN[0]}x{SCREEN[1]}x24 -nolisten tcp",
        "qgis", "--noversioncheck", "--nologo", "--profiles-path", str(folder / "profile"), "--lang", "en_US",
        "--code", str(Path(__file__).with_name("start.py")),
    ]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=_environment(folder, plugin_parent, plan_file),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            ended = _wait(process, report, timeout_s)
        finally:
            _end_group(process)
    if not report.is_file():
        if not ended:
            raise DemoError(f"QGIS was not done after {timeout_s / 60:.0f} minutes; see {log}")
        raise DemoError(f"QGIS ended (exit {process.returncode}) before the demo was done; see {log}")
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    if found.get("error"):
        raise DemoError(found["error"])
    return {**found, "ended": ended}


def _wait(process: subprocess.Popen[bytes], report: Path, timeout_s: float) -> bool:
    """Wait for the report, and then a little for QGIS to close; whether it did."""
    deadline, reported = time.monotonic() + timeout_s, False
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
        if not reported and report.is_file():
            reported, deadline = True, time.monotonic() + _CLOSING_S
    return process.poll() is not None


def _environment(folder: Path, plugin_parent: Path, plan_file: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_DROPPED)}
    return {
        **kept,
        # QGIS asks the PATH where its Python lives: another Python there would be mistaken for it.
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LC_ALL": "C.UTF-8",
        "QT_QPA_PLATFORM": "xcb",
        "QGIS_PLUGINPATH": str(plugin_parent),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_DATA_HOME": str(folder / "data"),
        "XDG_RUNTIME_DIR": _private(folder / "runtime"),
        "SKYSENSE_PYTHON": str(ROOT / ".venv" / "bin" / "python"),
        "SKYSENSE_DEMO": str(plan_file),
    }


def _private(folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    return str(folder)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of QGIS, its worker and its X server: they are a process group of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        time.sleep(0.5)
    process.wait()
