"""Both ways to an answer, over empty stores."""

import pytest

from tests.doorstep.sides import Ways, numbers
from tests.onloop import OnLoop
from web.app import create_app
from web.standing import standing_copy


@pytest.fixture(scope="module", params=["thread", "loop"])
def application(servers, request):
    app = create_app()
    if request.param == "thread":
        yield Ways(app)
        return
    with OnLoop(app) as front:
        yield Ways(app, front)


@pytest.fixture
def ways(application, store):
    """The application with its doorstep, and what is behind it; counts what Flask is asked."""
    assert standing_copy().renew()
    return application


@pytest.fixture
def me():
    """The id of a buyer who did not come before."""
    return next(numbers)
