"""Optional add-ons, installed as `resonate_web.contrib`.

Law: an add-on imports only public names (`resonate_web`, a framework module such as `resonate_web.flask`, and
`resonate_web.testing`), so that it could move to a distribution of its own on any day.
README.md says what belongs here.
"""
