"""Tests keep features in a folder of their own, not in the user's."""

import os
import tempfile

os.environ["SKYSENSE_CACHE"] = tempfile.mkdtemp(prefix="skysense-tests-features-")
