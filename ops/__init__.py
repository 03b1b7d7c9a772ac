"""Bringing the system up on one machine: embedded servers, the supervisor, the demo and the rush of buyers."""
