"""How long a server says that it is leaving before it stops; apart, for processes that load nothing else of ours."""

# Long enough for a proxy's next look at /readyz, and for whoever was about to send to read `Connection: close`. Part of
# the grace that ops/processes.py gives.
LEAVING_SECONDS = 1.5
