"""A control whose job is cancelled at a given step, however fast the steps are: told events are throttled, `progress` is not."""

from skysense.jobs.control import JobControl


class StopsAt(JobControl):
    """Cancelled by the `times`-th progress whose text is `text`, never where that is None; `seen`: the shares that were told with it."""

    def __init__(self, text, times=1):
        super().__init__(lambda event: None)
        self._text, self._times = text, times
        self.seen = []

    def progress(self, fraction, text):
        if text == self._text:
            self.seen.append(fraction)
            if len(self.seen) == self._times:
                self.cancel()
        super().progress(fraction, text)
