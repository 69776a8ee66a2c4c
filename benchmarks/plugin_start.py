"""Seconds that loading the plugin adds to QGIS's start; run by QGIS's Python, prints one JSON line (see bench_start.py)."""

import json
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests" / "qgis")]

from iface import Iface  # noqa: E402 - the tests' stand-in for the window
from qgis.core import QgsApplication  # noqa: E402

application = QgsApplication([], True)
application.initQgis()
started, cpu = time.perf_counter(), time.process_time()
import skysense_qgis  # noqa: E402 - what is measured

plugin = skysense_qgis.classFactory(Iface())
plugin.initGui()
print(json.dumps({"wall_s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}))
plugin.unload()
