"""Runs the plugin's algorithms as Processing does, and maps in the panel."""

from qgis.core import (
    QgsApplication,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProject,
)


def run(name: str, parameters: dict, context=None) -> dict:
    """Check and run as Processing does; a failure raises QgsProcessingException."""
    chosen = QgsApplication.processingRegistry().createAlgorithmById(f"skysense:{name}")
    context = context or QgsProcessingContext()
    context.setProject(QgsProject.instance())
    ok, message = chosen.checkParameterValues(parameters, context)
    if not ok:
        raise QgsProcessingException(message)
    results, ok = chosen.run(parameters, context, QgsProcessingFeedback(False), {}, False)
    assert ok
    return results


def choose_in_panel(dock, wait, scene: str, model: str, folder) -> None:
    """Give the panel a scene's folder or file, a trained model and an output folder."""
    dock.add_paths([scene])
    dock.run.folder.setFilePath(str(folder))
    dock.run.model.setFilePath(model)
    wait(lambda: dock.ready)


def map_in_panel(dock, wait) -> dict:
    """Press Map; the worker's result."""
    said = []
    for signal in (dock.mapped, dock.failed):
        signal.connect(said.append)
    assert dock.run.map_button.isEnabled(), dock.run.map_button.toolTip()
    dock.run.map_button.click()
    wait(lambda: said, 60)
    assert isinstance(said[0], dict), said
    return said[0]
