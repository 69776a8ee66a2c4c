"""Draws ten polygons in QGIS and waits for the repainted view; run by QGIS's Python (see bench_follow.py).

Arguments: scene folder, rounds. Prints one JSON line: seconds of the first look and of each round, and what was mapped last.
"""

import json
import random
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests" / "qgis")]

from iface import Iface  # noqa: E402 - the tests' stand-in for the window
from qgis.core import QgsApplication, QgsFeature, QgsGeometry, QgsRectangle, QgsVectorLayer  # noqa: E402
from qgis.PyQt.QtCore import QEventLoop, QTimer  # noqa: E402

from skysense_qgis.dock.dock import SkySenseDock  # noqa: E402
from skysense_qgis.worker.client import WorkerClient  # noqa: E402

scene, rounds = Path(sys.argv[1]), int(sys.argv[2])
application = QgsApplication([], True)
application.initQgis()
iface, client = Iface(), WorkerClient()
dock = SkySenseDock(iface, client)
dock.show()


def wait(condition, seconds=900.0):
    deadline = time.monotonic() + seconds
    while not condition():
        loop = QEventLoop()
        QTimer.singleShot(10, loop.quit)
        loop.exec()
        if time.monotonic() > deadline:
            raise SystemExit(f"waited in vain: {dock.run.status.text()}")


dock.add_paths([str(scene)])
wait(lambda: dock.ready)
labels = dock.labels.layer
assert isinstance(labels, QgsVectorLayer)
extent = labels.extent()
canvas = iface.mapCanvas()
canvas.setDestinationCrs(labels.crs())
canvas.resize(512, 512)
canvas.setLayers([])
canvas.setExtent(QgsRectangle.fromCenterAndSize(extent.center(), 6000, 6000))
shown, painted = [], []
dock.following.shown.connect(shown.append)
canvas.mapCanvasRefreshed.connect(lambda: painted.append(len(shown)))
started = time.perf_counter()
dock.run.follow_box.setChecked(True)
wait(lambda: shown and not dock.following.busy)
first = time.perf_counter() - started
canvas.setLayers([dock.following.map.layer])
wait(lambda: painted and painted[-1] == len(shown))

chance = random.Random(0)
classes = sorted({str(feature[dock.labels.field]) for feature in labels.getFeatures()})
labels.startEditing()
seconds = []
for _ in range(rounds):
    before = len(shown)
    started = time.perf_counter()
    for number in range(10):
        x, y = chance.uniform(extent.xMinimum(), extent.xMaximum()), chance.uniform(extent.yMinimum(), extent.yMaximum())
        feature = QgsFeature(labels.fields())
        feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(x, y, x + 60, y + 60)))
        feature[dock.labels.field] = classes[number % len(classes)]
        labels.addFeature(feature)
    wait(lambda before=before: len(shown) > before)
    canvas.refresh()
    wait(lambda: painted and painted[-1] == len(shown))
    seconds.append(time.perf_counter() - started)
    wait(lambda: not dock.following.busy)
area = dock.following._mapped
print(
    json.dumps(
        {
            "first_s": first,
            "seconds": seconds,
            "model": dock.following._model["model"],
            "map": shown[-1]["map"],
            "area": [area.xMinimum(), area.yMinimum(), area.xMaximum(), area.yMaximum()],
            "crs": canvas.mapSettings().destinationCrs().authid(),
        }
    ),
    flush=True,
)
# What was shown is looked at by whoever started this: nothing is cleared away.
client.shutdown()
import os  # noqa: E402

os._exit(0)
