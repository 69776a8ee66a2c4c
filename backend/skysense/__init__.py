"""SkySense backend: scene -> grid -> reader -> model -> map. No QGIS in here; QGIS talks to `skysense.jobs.worker`."""

__version__ = "0.1.0"
