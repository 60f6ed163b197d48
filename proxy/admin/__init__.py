"""The admin port: health and metrics, on a server and a listener of its own (threats, ports).

server    /metrics, /healthz, /readyz
keys      /api/keys: how keys stand, turning one off or on
guard     who may ask for what is under /api/
"""
