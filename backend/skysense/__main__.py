"""`python -m skysense` is the `skysense` command."""

import sys

from skysense.cli import main

sys.exit(main())
