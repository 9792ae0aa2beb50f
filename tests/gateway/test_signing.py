"""Signatures and tokens: what opens, what does not, and which key signs."""

from __future__ import annotations

import pytest

from resonate_web.errors import ConfigError
from resonate_web.gateway.signing import STATUS, Signer, checked_keys, key_ring

OLD, NEW, OTHER = b"o" * 32, b"n" * 32, b"x" * 32


def signer(*keys: bytes) -> Signer:
    return Signer(lambda: keys)


def test_a_signature_is_deterministic() -> None:
    """The same text has the same 43 URL-safe characters in every process with the key."""
    first, second = signer(NEW).signature(STATUS, "order/42"), signer(NEW).signature(STATUS, "order/42")
    assert first == second
    assert len(first) == 43
    assert first.replace("-", "").replace("_", "").isalnum()


def test_a_signature_of_this_release_is_known() -> None:
    """Links that were mailed stay valid: the construction may not change between releases."""
    assert signer(b"k" * 32).signature(STATUS, "order/42") == "Kzw4ja8XPPXnZcjQuXS0briKycxnUAxJzLQefZQ0Aqc"


@pytest.mark.parametrize(
    ("purpose", "text"), [("approval", "order/42"), (STATUS, "order/43"), (STATUS, "order/4"), (STATUS, "")]
)
def test_a_signature_opens_one_text_for_one_purpose(purpose: str, text: str) -> None:
    """Neither another purpose nor another text is covered."""
    assert not signer(NEW).verifies(purpose, text, signer(NEW).signature(STATUS, "order/42"))


def test_every_change_of_a_signature_is_noticed() -> None:
    """Truncated, extended, empty, foreign and altered signatures fail, also in the last digit's unused bits."""
    good = signer(NEW).signature(STATUS, "order/42")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    forged = [good[:i] + c + good[i + 1 :] for i in range(len(good)) for c in alphabet if c != good[i]]
    forged += [good[:-1], good + "=", good + "A", "", " " + good, good.swapcase(), "\ufffd", "ü" * 43, "\ud800"]
    assert signer(NEW).verifies(STATUS, "order/42", good)
    assert [text for text in forged if signer(NEW).verifies(STATUS, "order/42", text)] == []


def test_the_last_key_signs_and_all_verify() -> None:
    """The ring is ordered oldest to newest."""
    old, new = signer(OLD).signature(STATUS, "a"), signer(NEW).signature(STATUS, "a")
    assert signer(OLD, NEW).signature(STATUS, "a") == new
    assert signer(OLD, NEW).verifies(STATUS, "a", old)
    assert signer(OLD, NEW).verifies(STATUS, "a", new)
    assert not signer(NEW).verifies(STATUS, "a", old)


def test_the_ring_is_made_at_first_use_and_once() -> None:
    """Making a signer asks for no key: keys may be set after the extension, and the store is opened late."""
    asked: list[int] = []

    def ring() -> list[bytes]:
        asked.append(1)
        return [NEW]

    made = Signer(ring)
    assert asked == []
    made.signature(STATUS, "a")
    made.signature(STATUS, "b")
    assert asked == [1]


def test_a_token_says_what_was_put_in_until_its_time() -> None:
    """A token carries its text and its expiry; the instant of expiry is already too late."""
    token = signer(NEW).token("approval", "order/42:@manager ü", 5_000)
    opened = signer(OLD, NEW).opened("approval", token)
    assert opened is not None
    assert opened.text == "order/42:@manager ü"
    assert not opened.expired(4_999)
    assert opened.expired(5_000)


def test_a_token_that_is_not_ours_opens_as_nothing() -> None:
    """Forged, truncated, re-dated, other-purpose and foreign-key tokens are all the same: None, never an error."""
    token = signer(NEW).token("approval", "order/42", 5_000)
    text, expires_at, signature = token.split(".")
    forged = [token[:i] for i in range(len(token))]
    forged += [
        f"{text}.9{expires_at}.{signature}",
        f"{text}A.{expires_at}.{signature}",
        f".{token}",
        f"{token}.",
        "....",
    ]
    assert [found for found in forged if signer(NEW).opened("approval", found)] == []
    assert signer(NEW).opened("status", token) is None
    assert signer(OTHER).opened("approval", token) is None


def test_our_own_keys_come_first() -> None:
    """Configured keys are used as they are, and neither the framework nor the store is asked."""
    ring = key_ring(("a" * 16, "b" * 16), ("secret",), lambda: pytest.fail("the store was asked"))
    assert ring == (b"a" * 16, b"b" * 16)


def test_the_framework_key_is_derived() -> None:
    """Our key is not the framework's secret, and the order of its fallbacks is kept; text and bytes are alike."""
    ring = key_ring((), ("old", b"new"), lambda: pytest.fail("the store was asked"))
    assert len(ring) == 2
    assert ring == key_ring((), (b"old", "new"), bytes)
    assert b"new" not in ring
    assert ring[1] == key_ring((), ("new",), bytes)[0]


def test_without_a_secret_the_store_has_one() -> None:
    """Empty secrets are no secrets; the key of the store is the same for all processes."""
    assert key_ring((), ("", b""), lambda: OTHER) == (OTHER,)


def test_a_short_key_is_refused() -> None:
    """A key that can be guessed is a configuration error, and the message does not show it."""
    assert checked_keys(["k" * 16]) == ("k" * 16,)
    with pytest.raises(ConfigError, match="at least 16 characters") as caught:
        checked_keys(["k" * 16, "hunter2"])
    assert "hunter2" not in str(caught.value)
