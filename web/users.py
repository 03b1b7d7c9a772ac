"""Users as admins see and change them: make, name, block, and who is an admin."""

from typing import Any

from flask.wrappers import Response

from models import accounts
from models.accounts import Changed
from models.clock import to_iso
from models.user import Role, User
from web.access import admin_required
from web.accounts import user_json
from web.auth import current_user
from web.envelope import ok
from web.openapi import api_blueprint, refusal
from web.schemas import Envelope, PageEnvelope
from web.schemas_accounts import ManagedUserView, NewUserBody, UserChangesBody, UserPath, UsersQuery

blueprint = api_blueprint(
    "users", __name__, url_prefix="/api/users", tag="users", about="Who may buy and who may operate; for admins"
)

OWN_ACCOUNT = refusal("`OWN_ACCOUNT`: nobody blocks themselves or takes their own role away")
UNTOLD = "; the tokens given out before are refused as soon as Redis is back"


def account_json(user: User) -> dict[str, Any]:
    return {**user_json(user), "blockedAt": to_iso(user.blocked_at) if user.blocked_at else None}


@blueprint.get("", responses={200: PageEnvelope[ManagedUserView]})
@admin_required
def list_all(query: UsersQuery) -> Response:
    """All accounts, newest first"""
    users, total = accounts.list_users(query.search, query.page, query.limit)
    return ok([account_json(user) for user in users], "Users retrieved successfully", meta=query.meta(total))


@blueprint.post("", responses={201: Envelope[ManagedUserView], 409: refusal("`EMAIL_TAKEN`")})
@admin_required
def create(body: NewUserBody) -> Response:
    """Make an account, of a customer or of an admin"""
    user = accounts.create_account(body.name, body.email, body.password, Role(body.role))
    location = f"/api/users/{user.id}"
    return ok(account_json(user), "User created successfully", status=201, headers={"Location": location})


@blueprint.get("/<id:user_id>", responses={200: Envelope[ManagedUserView]})
@admin_required
def show(path: UserPath) -> Response:
    """One account"""
    return ok(account_json(accounts.find_user(path.user_id)), "User retrieved successfully")


@blueprint.patch("/<id:user_id>", responses={200: Envelope[ManagedUserView], 403: OWN_ACCOUNT})
@admin_required
def change(path: UserPath, body: UserChangesBody) -> Response:
    """Change a name, or make somebody an admin or a customer

    With another role every token of the account is refused at once, on every process: they name the old one.
    """
    given = body.given()
    role = Role(given["role"]) if "role" in given else None
    changed = accounts.change_account(path.user_id, current_user().user_id, name=given.get("name"), role=role)
    return _answer(changed, "User updated successfully")


@blueprint.post("/<id:user_id>/block", responses={200: Envelope[ManagedUserView], 403: OWN_ACCOUNT})
@admin_required
def block(path: UserPath) -> Response:
    """Block an account: no log-in, every token refused at once, open sockets closed within seconds

    What it bought and holds stays, and a request that is in line is settled.
    """
    return _answer(accounts.block(path.user_id, current_user().user_id), "User blocked successfully")


@blueprint.post("/<id:user_id>/unblock", responses={200: Envelope[ManagedUserView]})
@admin_required
def unblock(path: UserPath) -> Response:
    """Let a blocked account log in again; its tokens from before stay refused"""
    return _answer(accounts.unblock(path.user_id, current_user().user_id), "User unblocked successfully")


def _answer(changed: Changed, message: str) -> Response:
    return ok(account_json(changed.user), message if changed.is_told else message + UNTOLD)
