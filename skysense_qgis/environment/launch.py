"""Prepares the worker's process so that nothing of QGIS's Python, GDAL or libraries leaks into it."""

from __future__ import annotations

import os
from urllib.parse import quote

from qgis.core import QgsApplication, QgsSettings
from qgis.PyQt.QtCore import QProcess, QProcessEnvironment

from ..paths import built_in_model, cache_folder
from .find import Found

#: Variables that QGIS (its launcher, a Flatpak, a conda shell) sets for itself and that break another Python. What the user has set for
#: servers (GDAL_HTTP_…, CPL_…) stays.
_DROPPED = {
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "CONDA_DEFAULT_ENV",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "GEOTIFF_CSV",
    "OSGEO4W_ROOT",
    "GDAL_DATA",
    "GDAL_DRIVER_PATH",
    "GDAL_SKIP",
}
_DROPPED_PREFIXES = ("PYTHON", "PIP_", "DYLD_", "PROJ_", "QGIS_", "QT_")
#: Dropped only where they point into QGIS's folder: a company has certificates of its own.
_CERTIFICATES = {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}


def clean_variables(variables: dict[str, str], qgis_prefix: str = "") -> dict[str, str]:
    """The worker's environment variables.

    Args:
        variables: those of the QGIS process.
        qgis_prefix: QGIS's folder; on Windows its entries leave the PATH (their DLLs clash with the worker's).
    """
    roots = [root for root in (qgis_prefix, variables.get("OSGEO4W_ROOT", "")) if root]

    def of_qgis(path: str) -> bool:
        places = [os.path.normcase(os.path.abspath(place)) for place in (path, *roots)]
        return any(places[0].startswith(root) for root in places[1:])

    kept = {
        name: value
        for name, value in variables.items()
        if name.upper() not in _DROPPED
        and not name.upper().startswith(_DROPPED_PREFIXES)
        and not (name.upper() in _CERTIFICATES and of_qgis(value))
    }
    if os.name == "nt":
        for name in [name for name in kept if name.upper() == "PATH"]:
            entries = kept[name].split(os.pathsep)
            kept[name] = os.pathsep.join(entry for entry in entries if not of_qgis(entry))
    kept["PYTHONNOUSERSITE"] = "1"
    kept["PYTHONIOENCODING"] = "utf-8"
    return kept


def proxy_variables(settings: QgsSettings) -> dict[str, str]:
    """The proxy of QGIS's network options as downloads and GDAL know it; empty without one, or with one of another kind."""
    host = str(settings.value("proxy/proxyHost", "") or "")
    if not settings.value("proxy/proxyEnabled", False, bool) or not host:
        return {}
    if settings.value("proxy/proxyType", "") != "HttpProxy":
        return {}
    user, password = (
        quote(str(settings.value(f"proxy/proxy{key}", "") or "")) for key in ("User", "Password")
    )
    port = str(settings.value("proxy/proxyPort", "") or "")
    who = f"{user}:{password}@" if user else ""
    address = f"http://{who}{host}" + (f":{port}" if port else "")
    return {"HTTP_PROXY": address, "HTTPS_PROXY": address, "NO_PROXY": "localhost,127.0.0.1"}


def prepare(process: QProcess, found: Found) -> None:
    """Set program, arguments, variables and working folder; the process is not started.

    Raises:
        OSError: the cache folder cannot be created.
    """
    system = QProcessEnvironment.systemEnvironment()
    variables = {name: system.value(name) for name in system.keys()}  # noqa: SIM118 - no mapping, a Qt class
    environment = QProcessEnvironment()
    for name, value in proxy_variables(QgsSettings()).items():
        environment.insert(name, value)
    for name, value in clean_variables(variables, QgsApplication.prefixPath()).items():
        environment.insert(name, value)  # a proxy that the user has set there counts
    # A backend that is not installed from the plugin's own folder does not have the file.
    environment.insert("SKYSENSE_BUILT_IN", built_in_model())
    process.setProcessEnvironment(environment)
    # Not the plugin's folder: a package there could shadow one of the worker's.
    process.setWorkingDirectory(str(cache_folder()))
    process.setProgram(found.program)
    process.setArguments(list(found.arguments))
