"""A control whose job is cancelled at a given step, however fast the steps are: told events are throttled, `progress` is not."""

from skysense.jobs.control import JobControl


class StopsAt(JobControl):
    """Cancelled by the first progress whose text is `text`."""

    def __init__(self, text):
        super().__init__(lambda event: None)
        self._text = text

    def progress(self, fraction, text):
        if text == self._text:
            self.cancel()
        super().progress(fraction, text)
