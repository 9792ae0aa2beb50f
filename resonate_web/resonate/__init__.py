"""The client that apps and adapters hold: it wires store, server and engine, and gives them an app's verbs."""

from resonate_web.resonate.client import Resonate
from resonate_web.resonate.handle import Handle
from resonate_web.resonate.launch import Launch
from resonate_web.resonate.options import Options

__all__ = ["Handle", "Launch", "Options", "Resonate"]
