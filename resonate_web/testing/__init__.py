"""The public test kit: a clock that is moved by hand, one seeded thread for several engines, and lists of cases.

Nothing here replaces code of the library: tests run the shipped machine, stores, server and engine.
"""
