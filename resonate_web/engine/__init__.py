"""The shell of `workflow`: attempts, steps, leases and threads.

It knows a server only as `Server.post` and `Server.read`; what a workflow may say is decided in `workflow`.
"""
