"""A Resonate server inside the process: the shell that runs `machine` on a `store`.

`submit` applies requests as one atomic group; the pump fires what is due. Nothing here knows
a workflow: tasks are handed to a `Worker`, which the engine provides.
"""
