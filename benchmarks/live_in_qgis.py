"""Feeds a growing map with many finished chunks in QGIS and redraws it; run by QGIS's Python (see bench_live.py).

Arguments: folder of the chunks. Prints one JSON line: seconds of the longest pause of the window while the chunks are taken (all but one
told at once, as by a resumed run), of the step from one more chunk to the new source, and of drawing the map in several extents, from the
mosaic and from one VRT of all chunks as GDAL makes it.
"""

import json
import operator
import os
import sys
import time
from array import array
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
)
from qgis.PyQt.QtCore import QEventLoop, QSize, QTimer

from skysense_qgis.results.live import LiveMap

WIDTH, HEIGHT, ROUNDS = 1200, 800, 5
#: Screen pixels per pixel of the map, in the middle of the map; 0 is all of it.
SCALES = {"all": 0.0, "1:32": 1 / 32, "1:8": 1 / 8, "1:6": 1 / 6, "1:4": 1 / 4, "1:1": 1.0}

application = QgsApplication([], True)
application.initQgis()
project = QgsProject.instance()
chunks = sorted(str(path) for path in Path(sys.argv[1]).glob("*_class.tif"))


def wait(condition):
    while not condition():
        loop = QEventLoop()
        QTimer.singleShot(5, loop.quit)
        loop.exec()


def extent(layer, scale):
    if not scale:
        return layer.extent()
    metres = layer.rasterUnitsPerPixelX() / scale
    return QgsRectangle.fromCenterAndSize(layer.extent().center(), WIDTH * metres, HEIGHT * metres)


def draw(layer, scale):
    """Seconds from the start of the drawing to its end, those of the processor in all threads, and the picture."""
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setOutputSize(QSize(WIDTH, HEIGHT))
    settings.setExtent(extent(layer, scale))
    started, used = time.perf_counter(), time.process_time()
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    assert not job.errors()
    return time.perf_counter() - started, time.process_time() - used, job.renderedImage()


def drawings(layer, rounds):
    found, images = {}, {}
    for name, scale in SCALES.items():
        several = [draw(layer, scale) for _ in range(rounds)]
        found[name] = {
            "seconds": [round(seconds, 3) for seconds, _, _ in several],
            "processor": [round(seconds, 3) for _, seconds, _ in several],
        }
        images[name] = several[-1][2]
    return found, images


class Pauses:
    """The longest time in which the event loop did not come to a timer that is always due."""

    def __init__(self):
        self.longest, self._last = 0.0, time.perf_counter()
        self._timer = QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.start(0)

    def _tick(self):
        now = time.perf_counter()
        self.longest, self._last = max(self.longest, now - self._last), now

    def stop(self):
        self._timer.stop()
        return round(self.longest, 3)


live = LiveMap(project, project.layerTreeRoot().insertGroup(0, "live"), [])
live.add({"class": chunks[0]})
first = live.layer.source()
pauses, started = Pauses(), time.perf_counter()
for chunk in chunks[1:-1]:
    live.add({"class": chunk})
told = time.perf_counter() - started
wait(lambda: live.layer.source() != first)
taken, longest = time.perf_counter() - started, pauses.stop()

before, pauses = live.layer.source(), Pauses()
live.add({"class": chunks[-1]})
wait(lambda: live.layer.source() != before)
step_pause = pauses.stop()
mosaic, shown = drawings(live.layer, ROUNDS)

started = time.perf_counter()
path = str(Path(live.layer.source()).with_name("plain.vrt"))
gdal.BuildVRT(path, chunks).FlushCache()
plain = QgsRasterLayer(path, "plain", "gdal")
plain.setRenderer(live.layer.renderer().clone())
plain_step = time.perf_counter() - started
plain_drawings, plain_shown = drawings(plain, 1)


def pixels(image):
    bits = image.constBits()
    bits.setsize(image.sizeInBytes())
    return array("I", bytes(bits))


def equal(one, other):
    """Share of the screen's pixels that look the same."""
    return round(sum(map(operator.eq, pixels(one), pixels(other))) / (WIDTH * HEIGHT), 4)


if len(sys.argv) > 2:
    for name, image in shown.items():
        image.save(f"{sys.argv[2]}/{name.replace(':', '_')}.png")
        plain_shown[name].save(f"{sys.argv[2]}/{name.replace(':', '_')}_plain.png")
folder = Path(live.layer.source()).parent
print(
    json.dumps(
        {
            "chunks": len(chunks),
            "pixels": [live.layer.width(), live.layer.height()],
            "told_s": round(told, 3),
            "taken_s": round(taken, 3),
            "longest_pause_s": longest,
            "pause_of_one_more_s": step_pause,
            "drawing": mosaic,
            "equal_to_plain": {name: equal(shown[name], plain_shown[name]) for name in shown},
            "files": len(list(folder.iterdir())),
            "megabytes": round(sum(file.stat().st_size for file in folder.iterdir()) / 1e6, 1),
            "plain": {"step_s": round(plain_step, 3), "drawing": plain_drawings},
        }
    ),
    flush=True,
)
live.close()
os._exit(0)
