"""The admin port: health and metrics, on a server and a listener of its own (threats, ports).

server    /metrics, /healthz, /readyz
"""
