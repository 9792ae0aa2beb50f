"""The words on the wire: records, requests, tags and the JSON envelope.

Law: pure values. Nothing here reads a clock, a store, a thread or a framework, and nothing
here decides anything; `machine` does. A new operation changes `requests`, `envelope` and
`machine.transition` together.
"""
