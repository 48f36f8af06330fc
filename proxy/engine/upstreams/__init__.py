"""Calls of upstreams: the one caller, its connections, and what is known of how they went."""
