"""Uses the plugin as a person would: real clicks in a real QGIS window. Runs in QGIS's Python (`start.py`)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from layers import colour_labels, outline, raise_to_top, show_imagery
from qgis.core import QgsApplication, QgsProject
from qgis.PyQt.QtCore import QEventLoop, QPoint, Qt, QTimer
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication, QDialog, QDockWidget, QWidget
from qgis.utils import iface, plugins

_POLL_MS = 50
_LAYERS_WIDTH = 300
_START_MS = 1500  # QGIS shows its window and settles


class Stop(Exception):
    """The demo cannot go on; one sentence."""


def start(plan: dict[str, Any]) -> None:
    """Follow the plan once the event loop runs.

    Args:
        plan: "scene" (scene file), "out" (folder), "report" (file to write), "screen" (width, height), and, optional,
            "classes" ({"id", "name", "color"} to draw the polygons in), "stall_s" (give up when nothing has moved for so
            long), "kill_worker" (kill it once while it maps).
    """
    demo = Driver(plan)
    # A timer keeps no reference to the object of a bound method; a function does.
    QTimer.singleShot(_START_MS, lambda: demo.run())


class Driver:
    """One demo. The report holds what it found: paths, seconds, the worker's results, notes, checks."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.out = Path(plan["out"])
        self.report: dict[str, Any] = {"notes": [], "failures": []}
        self.dock: Any = None

    def run(self) -> None:
        """Do everything, write the report, quit QGIS."""
        try:
            self._follow()
        except Exception as error:
            traceback.print_exc()
            self.report["error"] = str(error) if isinstance(error, Stop) else f"The demo failed: {error!r}"
            if not self.report.get("screenshot"):
                self._picture("failed.png")
        report = Path(self.plan["report"])
        part = report.with_suffix(".part")
        part.write_text(json.dumps(self.report, indent=1), encoding="utf-8")
        part.rename(report)  # whoever waits for it finds it whole
        QgsProject.instance().setDirty(False)
        QTimer.singleShot(0, iface.actionExit().trigger)

    def _follow(self) -> None:
        self._arrange_window()
        started = time.monotonic()
        self._add_scene()
        self._train()
        if self.plan.get("kill_worker"):
            self._map_and_kill()
        self._map()
        self.report["seconds"] = round(time.monotonic() - started, 1)
        self._show_result()
        self._save()
        self._picture("demo.png")

    # Steps ----------------------------------------------------------------------------------------------------------

    def _arrange_window(self) -> None:
        if "skysense_qgis" not in plugins:
            raise Stop("QGIS has not loaded the plugin.")
        for dialog in QApplication.topLevelWidgets():
            if isinstance(dialog, QDialog) and dialog.isVisible():
                dialog.close()
        window = iface.mainWindow()
        window.setGeometry(0, 0, *self.plan["screen"])
        for name in ("Browser", "Browser2"):
            panel = window.findChild(QWidget, name)
            if panel is not None:
                panel.hide()
        iface.newProject()
        self.dock = plugins["skysense_qgis"].show_dock()
        window.resizeDocks(
            [window.findChild(QDockWidget, "Layers")], [_LAYERS_WIDTH], Qt.Orientation.Horizontal
        )
        self.dock.failed.connect(self.report["failures"].append)
        self.dock.jobs.noted.connect(self._note)
        self._pause(500)

    def _add_scene(self) -> None:
        """Drop the scene on the table; then load what the table shows, so that it can be seen."""
        self._widget("outputFolderWidget").setFilePath(str(self.out))
        self.dock.add_paths([self.plan["scene"]])
        self._wait(lambda: self.dock.ready, "looking at the imagery")
        red = [row for row in self.dock.imagery.model.rows if row.verdict[0] == "red"]
        if red:
            raise Stop(f"{Path(red[0].path).name}: {red[0].verdict[1]}")
        labels = self._widget("labelLayerCombo").currentLayer()
        if labels is None or not self._widget("classFieldCombo").currentField():
            raise Stop(f"{self.plan['scene']} has no labels to train on.")
        if self.plan.get("classes"):
            colour_labels(labels, self._widget("classFieldCombo").currentField(), self.plan["classes"])
        else:
            outline(labels, "#ffd400")
        layers = show_imagery(self.dock.imagery.model.rows, self.out)
        QgsProject.instance().setCrs(layers[0].crs())
        canvas = iface.mapCanvas()
        canvas.setExtent(canvas.mapSettings().layerExtentToOutputExtent(layers[0], layers[0].extent()))
        self._settle()
        self._picture("imagery.png")

    def _train(self) -> None:
        self.report["trained"] = self._press("trainButton", self.dock.trained, "training")

    def _map(self) -> None:
        self.report["mapped"] = self._press("mapButton", self.dock.mapped, "mapping")

    def _map_and_kill(self) -> None:
        """Kill the worker while it maps: QGIS must live on and say what happened."""
        worker = plugins["skysense_qgis"]._client
        before, bar = worker.pid, self._widget("progressBar")

        def kill(done: int) -> None:
            if done > 0:
                bar.valueChanged.disconnect(kill)
                os.kill(before, signal.SIGKILL)

        # At the first sign of progress: a small map is done before one would look at the bar again.
        bar.valueChanged.connect(kill)
        self._click("mapButton")
        self._wait(lambda: self.report["failures"], "noticing that the worker is gone")
        sentence = self.report["failures"].pop()
        canvas = iface.mapCanvas()
        canvas.zoomByFactor(0.9)
        self._settle()
        self._wait(lambda: self._widget("mapButton").isEnabled(), "being able to map again")
        self.report["killed"] = {"sentence": sentence, "canvas": canvas.isVisible(), "worker": before}
        self._picture("killed.png")

    def _show_result(self) -> None:
        """Polygons in the classes' colours above the map, and the whole of it in view."""
        labels = self._widget("labelLayerCombo").currentLayer()
        colour_labels(
            labels, self._widget("classFieldCombo").currentField(), self.report["trained"]["classes"]
        )
        raise_to_top(labels)
        path = self.report["mapped"]["map"]
        layer = next(item for item in QgsProject.instance().mapLayers().values() if item.source() == path)
        group = QgsProject.instance().layerTreeRoot().findLayer(layer.id()).parent()
        group.setExpanded(False)  # the tree view follows changes only
        group.setExpanded(True)
        canvas = iface.mapCanvas()
        extent = canvas.mapSettings().layerExtentToOutputExtent(layer, layer.extent())
        extent.scale(1.02)
        canvas.setExtent(extent)
        self._settle()

    def _save(self) -> None:
        """Save the project and read it again: every layer must be found."""
        project = QgsProject.instance()
        path = self.out / "demo.qgz"
        project.setFileName(str(path))
        if not project.write():
            raise Stop(f"The project cannot be saved: {project.error()}")
        again = QgsProject()
        again.read(str(path))
        lost = [layer.name() for layer in again.mapLayers().values() if not layer.isValid()]
        if lost or len(again.mapLayers()) != len(project.mapLayers()):
            raise Stop(f"The saved project has lost the layers {', '.join(lost)}.")
        self.report.update(project=str(path), layers=len(again.mapLayers()))

    def _picture(self, name: str) -> None:
        """Take a picture of the whole screen, as the X server shows it."""
        path = self.out / name
        done = subprocess.run(
            ["import", "-silent", "-window", "root", str(path)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            self.report["notes"].append(f"No picture: {done.stderr.strip()}")
        elif name == "demo.png":
            self.report["screenshot"] = str(path)

    def _note(self, text: str) -> None:
        if text not in self.report["notes"]:
            self.report["notes"].append(text)

    # Doing and waiting ----------------------------------------------------------------------------------------------

    def _widget(self, name: str) -> Any:
        widget = self.dock.findChild(QWidget, name)
        if widget is None:
            raise Stop(f"The panel has no {name}.")
        return widget

    def _click(self, name: str) -> None:
        button = self._widget(name)
        self._wait(button.isEnabled, f"{name} ({button.toolTip()})")
        QTest.mouseClick(button, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, QPoint(8, 8))

    def _press(self, name: str, done: Any, what: str) -> dict[str, Any]:
        """Click a button of a run and wait for its result."""
        results: list[dict[str, Any]] = []
        done.connect(results.append)
        self._click(name)
        self._wait(lambda: results or self.report["failures"], what)
        done.disconnect(results.append)
        if self.report["failures"]:
            raise Stop(self.report["failures"][0])
        return results[0]

    def _wait(self, until: Callable[[], Any], what: str) -> None:
        """Run the event loop until something is so.

        Raises:
            Stop: neither it came nor did the panel's progress move for `stall_s`.
        """
        stall = float(self.plan.get("stall_s", 240))
        seen, since = None, time.monotonic()
        while not until():
            self._pause(_POLL_MS)
            state = (
                self._widget("progressBar").value(),
                self._widget("runStatus").text(),
                self._row_states(),
            )
            if state != seen:
                seen, since = state, time.monotonic()
            elif time.monotonic() - since > stall:
                raise Stop(
                    f"Nothing has moved for {stall:.0f} s while waiting for {what}; it says: {seen[1]}"
                )

    def _row_states(self) -> list[bool]:
        return [row.described for row in self.dock.imagery.model.rows]

    def _settle(self) -> None:
        """Wait until the canvas has been drawn."""
        canvas = iface.mapCanvas()
        canvas.refresh()
        calm = 0
        while calm < 6:
            self._pause(_POLL_MS)
            calm = 0 if canvas.isDrawing() else calm + 1
        QgsApplication.processEvents()

    @staticmethod
    def _pause(milliseconds: int) -> None:
        loop = QEventLoop()
        QTimer.singleShot(milliseconds, loop.quit)
        loop.exec()
