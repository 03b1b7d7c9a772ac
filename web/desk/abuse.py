"""Rules for addresses and fraud records at the desk."""

from typing import Any

from flask import make_response, request
from werkzeug.wrappers import Response as AnyResponse

from models.fraud import Signal, Verdict
from web import fraud as fraud_api
from web import ip_rules as rules_api
from web.access import admin_required
from web.desk.acting import ROWS, act, ask, made_id, read_query
from web.desk.forms import DeskForm, Input
from web.desk.pages import (
    Button,
    Question,
    Table,
    desk_blueprint,
    go_to,
    link,
    next_page,
    numbered_pages,
    send,
    show_form,
    show_question,
    show_table,
    when,
)
from web.schemas_abuse import (
    FraudRecordPath,
    FraudRecordsQuery,
    IpRuleBody,
    IpRuleChangesBody,
    IpRulePath,
    IpRulesQuery,
    OverruleBody,
)

blueprint = desk_blueprint("abuse")

CHANGEABLE = (
    Input("reason", "Why", required=True),
    Input("expiresAt", "Until (UTC)", "moment", "Empty: for good"),
)
ACTIONS = [("deny", "Deny"), ("allow", "Allow")]
NEW = (
    Input("network", "Range", hint="Such as 203.0.113.0/24 or 2001:db8::/32", required=True),
    Input("action", "What is done", "choice", required=True, choices=ACTIONS),
    *CHANGEABLE,
)
NOTE = (Input("note", "Why it may pass", required=True),)
FRAUD_SEARCH = (
    Input("signal", "Signal", "choice", choices=[(str(each), each.replace("_", " ")) for each in Signal]),
    Input("action", "Verdict", "choice", choices=[(str(each), str(each)) for each in Verdict]),
    Input("userId", "Buyer (their id)"),
    Input("saleId", "Sale (its id)"),
)


@blueprint.get("/ip-rules")
@admin_required
def rules() -> str:
    answer = ask(rules_api.list_all, query=read_query(IpRulesQuery, limit=ROWS))
    rows = [
        (
            link(f"/admin/ip-rules/{rule['id']}", rule["network"]),
            rule["action"],
            rule["reason"],
            "in force" if rule["isActive"] else "run out",
            when(rule["expiresAt"]) or "for good",
            link(f"/admin/users/{rule['createdBy']}", f"user {rule['createdBy']}"),
            when(rule["createdAt"]),
        )
        for rule in answer.data
    ]
    columns = ("Range", "What is done", "Why", "Now", "Until", "By", "Since")
    search = (Input("action", "What is done", "choice", choices=ACTIONS),)
    return show_table(
        Table("IP rules", columns, rows, search, ("New rule", "/admin/ip-rules/new"), numbered_pages(answer))
    )


@blueprint.route("/ip-rules/new", methods=["GET", "POST"])
@admin_required
def new_rule() -> AnyResponse:
    form = DeskForm(IpRuleBody, NEW)
    if request.method == "POST" and (answer := send(form, rules_api.create)):
        return go_to(f"/admin/ip-rules/{made_id(answer)}")
    if request.method == "GET" and request.args.get("network"):
        return make_response(show_question(_ask_for_rule({each.name: request.args.get(each.name, "") for each in NEW})))
    return show_form(form, "New rule", "Create", asks=True)


def _ask_for_rule(typed: dict[str, str]) -> Question:
    """Before a rule is in force: one that is too wide turns a whole town away, or lets it in."""
    denies = typed["action"] != "allow"
    return Question(
        f"{'Deny' if denies else 'Allow'} {typed['network']}?",
        f"Within a second requests from there are {'refused' if denies else 'let in'}, whatever wider ranges say.",
        f"{'Deny' if denies else 'Allow'} it",
        back="/admin/ip-rules/new",
        fields=typed,
    )


@blueprint.route("/ip-rules/<id:rule_id>", methods=["GET", "POST"])
@admin_required
def one_rule(rule_id: int) -> AnyResponse:
    path = IpRulePath(rule_id=rule_id)
    rule = ask(rules_api.show, path=path).data
    form = DeskForm(IpRuleChangesBody, CHANGEABLE, rule)
    if request.method == "POST" and send(form, rules_api.change, path=path):
        return go_to(f"/admin/ip-rules/{rule_id}")
    buttons = [Button("Delete", f"/admin/ip-rules/{rule_id}/delete", asks=True)]
    return show_form(form, f"{rule['action'].capitalize()} {rule['network']}", "Save", buttons=buttons)


@blueprint.get("/ip-rules/<id:rule_id>/delete")
@admin_required
def ask_to_delete(rule_id: int) -> str:
    rule = ask(rules_api.show, path=IpRulePath(rule_id=rule_id)).data
    words = "Within a second it is in force nowhere."
    title = f"Delete the rule to {rule['action']} {rule['network']}?"
    return show_question(Question(title, words, "Delete it", back=f"/admin/ip-rules/{rule_id}"))


@blueprint.post("/ip-rules/<id:rule_id>/delete")
@admin_required
def delete_rule(rule_id: int) -> AnyResponse:
    act(rules_api.delete, path=IpRulePath(rule_id=rule_id))
    return go_to("/admin/ip-rules")


@blueprint.get("/fraud-records")
@admin_required
def records() -> str:
    answer = ask(fraud_api.list_all, query=read_query(FraudRecordsQuery, limit=ROWS))
    rows = [
        (
            when(record["at"]),
            link(f"/admin/users/{record['userId']}", f"user {record['userId']}"),
            record["address"] or "",
            link(f"/admin/sales/{record['saleId']}", f"Sale {record['saleId']}"),
            record["signal"].replace("_", " "),
            f"{record['score']} %",
            record["action"],
            record["note"] or "",
            _standing(record),
        )
        for record in answer.data
    ]
    columns = ("When", "Buyer", "Address", "Sale", "Signal", "Score", "Verdict", "Overruled because", "")
    pages = next_page(answer.meta["nextCursor"])
    return show_table(Table("Fraud records", columns, rows, FRAUD_SEARCH, pages=pages))


@blueprint.route("/fraud-records/<id:record_id>/overrule", methods=["GET", "POST"])
@admin_required
def overrule(record_id: int) -> AnyResponse:
    form = DeskForm(OverruleBody, NOTE)
    if request.method == "POST" and send(form, fraud_api.overrule, path=FraudRecordPath(record_id=record_id)):
        return go_to("/admin/fraud-records")
    return show_form(form, f"Overrule record {record_id}", "Let it pass")


@blueprint.route("/fraud-records/<id:record_id>/withdraw", methods=["GET", "POST"])
@admin_required
def withdraw(record_id: int) -> AnyResponse:
    if request.method == "POST":
        act(fraud_api.withdraw, path=FraudRecordPath(record_id=record_id))
        return go_to("/admin/fraud-records")
    form = DeskForm(OverruleBody, ())
    return show_form(form, f"Take the overruling of record {record_id} back", "Count it again")


def _standing(record: dict[str, Any]) -> Any:
    here = f"/admin/fraud-records/{record['id']}"
    if record["overruledAt"]:
        return link(f"{here}/withdraw", "Take back")
    return link(f"{here}/overrule", "Overrule")
