"""Pages for people, made on the server with Jinja from web/templates, with small scripts from web/static.

Decisions: docs/decisions/0013-pages.md.
"""
