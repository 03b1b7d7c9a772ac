"""What an operator reads when something cannot be done: one line that says what to do, never a traceback."""


class OpsError(Exception):
    """Its text is the whole message: what is wrong and what to do about it, in one line."""


class ServerError(OpsError):
    """An embedded server did not start, stop or answer; the text names its log."""
