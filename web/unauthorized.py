"""Why nobody knows who is asking: each way in which a token is no good has its code."""

from models.errors import DomainError, FieldError


class UnauthorizedError(DomainError):
    """Nobody knows who you are: 401 in the one word that old clients look for (reference 004, "Common Errors"), with a
    code and words that say why."""

    code = "TOKEN_INVALID"
    message = "Unauthorized"
    why = "The token is not valid"

    def __init__(self, why: str | None = None) -> None:
        self.why = why or type(self).why
        super().__init__(fields=[FieldError("Authorization", self.why)])


class TokenMissingError(UnauthorizedError):
    code = "TOKEN_MISSING"
    why = "Send an access token: Authorization: Bearer <token>"


class TokenExpiredError(UnauthorizedError):
    code = "TOKEN_EXPIRED"
    why = "The token has expired"


class TokenRevokedError(UnauthorizedError):
    code = "TOKEN_REVOKED"
    why = "The token was revoked"
