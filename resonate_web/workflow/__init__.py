"""What a workflow may say: a generator in, commands out.

Law: pure. Ids are counted, not drawn; values cross as encoded text; nothing here starts a
thread, reads a clock or submits a request. `engine` carries out what is decided here.
"""
