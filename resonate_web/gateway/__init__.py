"""HTTP without a framework: a request value in, a response value out.

Law: pure but for calls on `Resonate`. No thread, clock, event loop or framework is imported here, and no
answer depends on which adapter asked. A new route is a row in `routes.ROUTES` and a function beside it.
"""
