"""Both ways to an answer, over empty stores."""

import pytest

from tests.doorstep.sides import Ways, numbers
from web.app import create_app
from web.standing import standing_copy


@pytest.fixture(scope="module")
def application(servers):
    return Ways(create_app())


@pytest.fixture
def ways(application, store):
    """The application with its doorstep, and what is behind it; counts what Flask is asked."""
    assert standing_copy().renew()
    return application


@pytest.fixture
def me():
    """The id of a buyer who did not come before."""
    return next(numbers)
