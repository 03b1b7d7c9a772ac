"""Answers are as the document says they are, for input that the document allows and for input that it does not."""

import pytest
import schemathesis
import schemathesis.generation.jsonschema.builder  # now, and not beside the threads of a test
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from schemathesis.checks import CHECKS, load_all_checks

from web.auth import issue_access_token

EXAMPLES = 6
KEPT = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_every_operation_keeps_to_the_document(app, make_user, change_settings, mode):
    change_settings(RATE_LIMIT_EXEMPT="0.0.0.0/0, ::/0")
    admin = make_user(role="admin")
    load_all_checks()
    checks = [CHECKS.get_one(name) for name in KEPT]
    document = schemathesis.openapi.from_wsgi("/api/openapi.json", app)

    for operation in (result.ok() for result in document.get_all_operations()):
        if mode is schemathesis.GenerationMode.NEGATIVE and not (operation.body or operation.query):
            continue

        @hypothesis_settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def keep_to_it(case):
            # A token for each: one of the operations is logging out.
            header = {"Authorization": f"Bearer {issue_access_token(admin.id, 'admin')}"}
            case.call_and_validate(headers=header, checks=checks)

        keep_to_it()
