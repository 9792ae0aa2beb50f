"""Where state rests. No rule of the protocol lives here: a store loads rows, applies writes, lists what is due.

Every row carries a revision that each write raises by one; a write names the revision that it
expects, and the store refuses the whole transaction when one differs.
"""
