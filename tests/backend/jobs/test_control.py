import threading
import time
from contextlib import contextmanager

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


def test_paused_it_waits_and_tells_so_once():
    told, went_on = [], threading.Event()
    control = JobControl(told.append)
    control.check()
    assert told == []
    control.pause()
    waiting = threading.Thread(target=lambda: (control.check(), control.check(), went_on.set()))
    waiting.start()
    assert not went_on.wait(0.3)
    control.resume()
    assert went_on.wait(5)
    assert [event["event"] for event in told] == ["paused", "resumed"]


def test_paused_it_can_still_be_cancelled():
    control = JobControl(lambda event: None)
    control.pause()
    threading.Timer(0.1, control.cancel).start()
    with pytest.raises(Cancelled):
        control.check()


def test_time_paused_is_not_time_worked(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    told = []
    control = JobControl(told.append)
    control.progress(0.0, "on")
    now[0] += 10
    control.pause()

    def an_hour(seconds):
        now[0] += 3600
        control.resume()
        return True

    monkeypatch.setattr(control._running, "wait", an_hour)
    control.progress(0.5, "on")
    assert told[-1]["eta_s"] == pytest.approx(10)
    assert control.paused_s == 3600


def test_a_part_of_a_job_is_paused_with_the_whole():
    control = JobControl(lambda event: None)
    control.share(0, 0.5).pause()
    threading.Timer(0.1, control.cancel).start()
    with pytest.raises(Cancelled):
        control.progress(0.1, "on")


@pytest.mark.parametrize("part", [lambda c: c, lambda c: c.share(0, 0.5), lambda c: c.quiet()])
def test_others_wait_with_it(part):
    control, seen = JobControl(lambda event: None), []

    @contextmanager
    def meanwhile():
        seen.append("begins")
        try:
            yield
        finally:
            seen.append("ends")

    with part(control).holding(meanwhile):
        control.check()
        assert seen == []
        control.pause()
        threading.Timer(0.1, control.resume).start()
        part(control).progress(0.1, "on")
        assert seen == ["begins", "ends"]
        control.pause()
        threading.Timer(0.1, control.cancel).start()
        with pytest.raises(Cancelled):
            control.check()
    assert seen == ["begins", "ends"] * 2


def test_a_quiet_part_says_nothing_and_is_paused_and_cancelled_with_the_whole():
    told = []
    control = JobControl(told.append)
    control.quiet().progress(0.5, "on")
    control.quiet().note("something")
    assert told == []
    control.pause()
    threading.Timer(0.1, control.cancel).start()
    with pytest.raises(Cancelled):
        control.quiet().progress(0.6, "on")


def test_figures_are_told_once_a_second_and_at_the_end(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    told = []
    control = JobControl(told.append)
    for step in range(1, 6):
        control.metrics(step, 2.0, {"hr/pixel": 2.0}, lr=0.1, samples_per_s=8.0, last=step == 5)
        now[0] += 0.4
    assert [event["step"] for event in told] == [1, 4, 5]
    assert told[0] == {
        "event": "metrics",
        "step": 1,
        "loss": 2.0,
        "terms": {"hr/pixel": 2.0},
        "lr": 0.1,
        "samples_per_s": 8.0,
    }
