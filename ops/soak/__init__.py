"""`make soak MINUTES=30`: steady load on a stack of its own, and a look at whether anything grows.

__main__ ─► course: servers, shop ─┬─► load: buyers, readers, sockets, operators, sales that open and end
                                   └─► probe: every few seconds, each process and both servers
                                        └─► verdict: flat or not ─► report: docs/reliability.md, pictures
"""
