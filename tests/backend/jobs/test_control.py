import time

import pytest
from skysense.errors import Cancelled
from skysense.jobs.control import JobControl


def test_the_rest_is_estimated_from_what_this_run_has_done(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    told = []
    control = JobControl(told.append)
    now[0] += 50  # whatever came before the first progress does not count
    control.progress(0.5, "on")
    now[0] += 10
    control.progress(0.6, "on")
    assert told[0]["eta_s"] is None
    assert told[1]["eta_s"] == pytest.approx(40)


def test_cancelled_it_stops_at_the_next_progress():
    control = JobControl(print)
    control.cancel()
    with pytest.raises(Cancelled):
        control.progress(0.1, "on")
