"""A made-up landscape with known truth, for demonstrations, tests and benchmarks.

Nothing in it is a measurement.
"""
