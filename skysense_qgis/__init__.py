"""SkySense for QGIS: the plugin. Computations run in a worker process of their own; see `worker/`."""

from __future__ import annotations


def classFactory(iface):
    """Entry point of QGIS."""
    from .plugin import SkySensePlugin

    return SkySensePlugin(iface)
