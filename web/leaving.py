"""How long a server says that it is leaving before it stops; apart, for processes that load nothing else of ours."""

# Long enough for a proxy's next look at /readyz, and for whoever was about to send to read `Connection: close`. Part of
# the grace that ops/processes.py gives.
LEAVING_SECONDS = 1.5
# Before the stop: so long nobody new is let in (web/door.py), and whoever is in the doorway is heard. On a busy machine
# a server may not get its turn for tenths of a second.
DRAINING_SECONDS = 0.5
