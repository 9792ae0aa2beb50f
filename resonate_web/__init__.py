"""Durable workflows for web apps: plain generators whose every step is a checkpoint.

The framework adapters are `resonate_web.flask`, and more to come; this package imports none of them.
"""

from resonate_web.config import Settings
from resonate_web.errors import (
    AlreadyRegistered,
    ApplicationError,
    Blocked,
    CallerError,
    Canceled,
    ConfigError,
    IdInUse,
    InvalidId,
    NonDeterminism,
    NotFound,
    NotRegistered,
    PlatformError,
    ResonateError,
    RunError,
    SchemaMismatch,
    Stopped,
    StoreError,
    StoreUnavailable,
    TimedOut,
    TooLarge,
    Unserializable,
    WrongCall,
)
from resonate_web.resonate import Handle, Launch, Options, Resonate
from resonate_web.workflow.commands import Future, Winner
from resonate_web.workflow.context import Context, StepContext
from resonate_web.workflow.retry import Constant, Exponential, Linear, Never, RetryPolicy

__all__ = [
    "AlreadyRegistered",
    "ApplicationError",
    "Blocked",
    "CallerError",
    "Canceled",
    "ConfigError",
    "Constant",
    "Context",
    "Exponential",
    "Future",
    "Handle",
    "IdInUse",
    "InvalidId",
    "Launch",
    "Linear",
    "Never",
    "NonDeterminism",
    "NotFound",
    "NotRegistered",
    "Options",
    "PlatformError",
    "Resonate",
    "ResonateError",
    "RetryPolicy",
    "RunError",
    "SchemaMismatch",
    "Settings",
    "StepContext",
    "Stopped",
    "StoreError",
    "StoreUnavailable",
    "TimedOut",
    "TooLarge",
    "Unserializable",
    "Winner",
    "WrongCall",
]
