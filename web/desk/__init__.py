"""The operators' pages under /admin. Each is a client of the API's own views, called in this process: the same checks,
the same rules, the same refusals, and nothing that a page can do and the API cannot.

Decisions: docs/decisions/0014-desk.md.
"""
