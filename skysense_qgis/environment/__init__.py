"""Finds the interpreter that the computations run in, and starts it clear of QGIS's own environment."""
