import pytest
from map_files import Heard


@pytest.fixture
def heard():
    return Heard()
