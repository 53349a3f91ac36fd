import pytest
from source_servers import Time, serving


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def time():
    return Time()
