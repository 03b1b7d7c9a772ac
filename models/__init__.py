"""The state and the rules of Doorbuster: tables, the gate, the mailbox, `decide()` and settling.

Nothing here knows Flask or Celery; web/ and worker/ both build on it and never on each other.
"""
