"""A small trained model and its checkpoint files."""

from pathlib import Path

import pytest
from released_files import combined, save, trained_model
from skysense.model.skysense import SkySense


@pytest.fixture(scope="session")
def trained() -> SkySense:
    """See `trained_model`; do not change it."""
    return trained_model()


@pytest.fixture
def combined_file(trained: SkySense, tmp_path: Path) -> Path:
    """The trained model as the released combined file."""
    return save(combined(trained.state_dict()), tmp_path / "skysense_model.pth")
