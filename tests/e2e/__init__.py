"""Headgate as workers meet it: a real process, clients nobody here wrote, real TLS upstreams."""
