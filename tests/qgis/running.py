"""Runs the plugin's algorithms as Processing does."""

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
