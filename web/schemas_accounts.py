"""Bodies and answers of accounts."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from models.passwords import LENGTH_MAX, LENGTH_MIN
from web.fields import Email, PersonName, SearchTerm
from web.schemas import Body, PageQuery, PathIds, View

# Kept as typed: a space at the end of a password is part of it.
Password = Annotated[str, StringConstraints(min_length=LENGTH_MIN, max_length=LENGTH_MAX)]
# Longer than any password may be; what was never valid is refused as a wrong password, not as a malformed one.
PasswordToTry = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Token = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class SignUpBody(Body):
    name: PersonName
    email: Email
    password: Password
    role: Literal["customer", "admin"] = Field(default="customer", description="admin only where the settings allow it")


class LoginBody(Body):
    email: Email
    password: PasswordToTry


class RefreshBody(Body):
    refresh_token: Token


class LogoutBody(Body):
    refresh_token: Token | None = Field(default=None, description="also revoked, if given")


class PasswordChangeBody(Body):
    old_password: PasswordToTry
    new_password: Password


class NewUserBody(Body):
    """An account that an admin makes, of any role."""

    name: PersonName
    email: Email
    password: Password
    role: Literal["customer", "admin"] = "customer"


class UserChangesBody(Body):
    """What changes. Another role ends what the account's tokens were good for."""

    name: PersonName = ""
    role: Literal["customer", "admin"] = "customer"


class UserPath(PathIds):
    user_id: int


class UsersQuery(PageQuery):
    search: SearchTerm | None = Field(default=None, description="a part of a name or an address")


class UserView(View):
    id: str
    name: str
    email: str
    role: Literal["customer", "admin"]
    created_at: str


class ManagedUserView(UserView):
    """An account as admins see it; `blockedAt` is null for whoever may log in."""

    blocked_at: str | None


class SessionView(View):
    access_token: str
    refresh_token: str
    expires_in: int = Field(description="seconds until the access token expires")
    user: UserView


class SocketTicketView(View):
    ticket: str = Field(description="open /ws?ticket=… with it; good once")
    expires_in: int = Field(description="seconds")
