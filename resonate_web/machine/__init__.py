"""What promises, tasks and schedules do: `(request, snapshot, now) -> (response, writes)`.

Law: pure. A transition reads only its snapshot (the state before it) and returns the rows to
write; it opens nothing, sleeps never and reads no clock. What a transition reads is declared
by `reads`; change both together, and the property tests beside them.
"""
