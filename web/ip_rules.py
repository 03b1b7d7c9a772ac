"""Rules for ranges of addresses, for admins: who may not come in, and who always may."""

from typing import Any

from flask.wrappers import Response

from models import ip_rule
from models.clock import now, to_iso
from models.ip_rule import IpRule, NewIpRule
from web.access import admin_required
from web.auth import current_user
from web.envelope import ok
from web.limits import client_address
from web.openapi import api_blueprint, refusal
from web.schemas import Envelope, PageEnvelope
from web.schemas_abuse import IpRuleBody, IpRuleChangesBody, IpRulePath, IpRulesQuery, IpRuleView
from web.standing import standing_copy

blueprint = api_blueprint(
    "ip_rules",
    __name__,
    url_prefix="/api/ip-rules",
    tag="abuse",
    about="Who may not come in, and what looked odd; for admins",
)

LOCKED_OUT = refusal("`WOULD_LOCK_YOU_OUT`: the address that this is asked from would be denied")


def ip_rule_json(rule: IpRule) -> dict[str, Any]:
    return {
        "id": str(rule.id),
        "network": str(rule.network),
        "action": rule.action,
        "reason": rule.reason,
        "expiresAt": to_iso(rule.expires_at) if rule.expires_at else None,
        "isActive": rule.expires_at is None or rule.expires_at > now(),
        "createdBy": str(rule.created_by),
        "createdAt": to_iso(rule.created_at),
    }


@blueprint.post(
    "",
    responses={201: Envelope[IpRuleView], 409: refusal("`IP_RULE_EXISTS`, `WOULD_LOCK_YOU_OUT`")},
)
@admin_required
def create(body: IpRuleBody) -> Response:
    """Allow or deny a range of addresses, everywhere within a second

    The most specific range that an address is in decides, and of two for the same range the allowing one. A denied
    address gets 403 `ADDRESS_DENIED` on every route; an allowed one is free of velocity rules, not of rate limits.
    """
    new = NewIpRule(body.network, body.action, body.reason, body.expires_at)
    rule = ip_rule.create_ip_rule(new, actor_id=current_user().user_id, from_address=client_address())
    standing_copy().renew()
    location = f"/api/ip-rules/{rule.id}"
    return ok(ip_rule_json(rule), "Rule created successfully", status=201, headers={"Location": location})


@blueprint.get("", responses={200: PageEnvelope[IpRuleView]})
@admin_required
def list_all(query: IpRulesQuery) -> Response:
    """All rules, newest first, those that have expired too"""
    found, total = ip_rule.list_ip_rules(query.page, query.limit, query.action)
    return ok([ip_rule_json(rule) for rule in found], "Rules retrieved successfully", meta=query.meta(total))


@blueprint.get("/<id:rule_id>", responses={200: Envelope[IpRuleView]})
@admin_required
def show(path: IpRulePath) -> Response:
    """One rule"""
    return ok(ip_rule_json(ip_rule.find_ip_rule(path.rule_id)), "Rule retrieved successfully")


@blueprint.patch("/<id:rule_id>", responses={200: Envelope[IpRuleView], 409: LOCKED_OUT})
@admin_required
def change(path: IpRulePath, body: IpRuleChangesBody) -> Response:
    """Change a rule's reason or its expiry; an expiry of null is for good"""
    rule = ip_rule.change_ip_rule(path.rule_id, body.given(), from_address=client_address())
    standing_copy().renew()
    return ok(ip_rule_json(rule), "Rule updated successfully")


@blueprint.delete("/<id:rule_id>", responses={200: Envelope[IpRuleView], 409: LOCKED_OUT})
@admin_required
def delete(path: IpRulePath) -> Response:
    """Delete a rule"""
    rule = ip_rule.delete_ip_rule(path.rule_id, from_address=client_address())
    standing_copy().renew()
    return ok(ip_rule_json(rule), "Rule deleted successfully")
