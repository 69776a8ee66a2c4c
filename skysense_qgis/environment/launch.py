"""Prepares the worker's process so that nothing of QGIS's Python, GDAL or libraries leaks into it."""

from __future__ import annotations

import os

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QProcess, QProcessEnvironment

from ..paths import built_in_model, cache_folder
from .find import Found

#: Variables that QGIS (its launcher, a Flatpak, a conda shell) sets for itself and that break another Python.
_DROPPED = {
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "CONDA_DEFAULT_ENV",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "GEOTIFF_CSV",
    "OSGEO4W_ROOT",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
}
_DROPPED_PREFIXES = ("PYTHON", "PIP_", "DYLD_", "GDAL_", "PROJ_", "CPL_", "QGIS_", "QT_")


def clean_variables(variables: dict[str, str], qgis_prefix: str = "") -> dict[str, str]:
    """The worker's environment variables.

    Args:
        variables: those of the QGIS process.
        qgis_prefix: QGIS's folder; on Windows its entries leave the PATH (their DLLs clash with the worker's).
    """
    kept = {
        name: value
        for name, value in variables.items()
        if name.upper() not in _DROPPED and not name.upper().startswith(_DROPPED_PREFIXES)
    }
    if os.name == "nt" and qgis_prefix:
        inside = os.path.normcase(os.path.abspath(qgis_prefix))
        for name in [name for name in kept if name.upper() == "PATH"]:
            entries = kept[name].split(os.pathsep)
            kept[name] = os.pathsep.join(
                entry for entry in entries if not os.path.normcase(os.path.abspath(entry)).startswith(inside)
            )
    kept["PYTHONNOUSERSITE"] = "1"
    kept["PYTHONIOENCODING"] = "utf-8"
    return kept


def prepare(process: QProcess, found: Found) -> None:
    """Set program, arguments, variables and working folder; the process is not started.

    Raises:
        OSError: the cache folder cannot be created.
    """
    system = QProcessEnvironment.systemEnvironment()
    variables = {name: system.value(name) for name in system.keys()}  # noqa: SIM118 - no mapping, a Qt class
    environment = QProcessEnvironment()
    for name, value in clean_variables(variables, QgsApplication.prefixPath()).items():
        environment.insert(name, value)
    # A backend that is not installed from the plugin's own folder does not have the file.
    environment.insert("SKYSENSE_BUILT_IN", built_in_model())
    process.setProcessEnvironment(environment)
    # Not the plugin's folder: a package there could shadow one of the worker's.
    process.setWorkingDirectory(str(cache_folder()))
    process.setProgram(found.program)
    process.setArguments(list(found.arguments))
