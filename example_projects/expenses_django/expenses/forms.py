"""What an expense must look like, from the page as from JSON; and the login."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.contrib.auth.forms import AuthenticationForm, UsernameField
from django.core.exceptions import ValidationError


class ExpenseForm(forms.Form):
    """An expense as it is handed in."""

    employee = forms.EmailField(max_length=200, label="Your e-mail", help_text="Learns how it ends.")
    amount = forms.DecimalField(
        min_value=Decimal("0.01"),
        max_digits=9,
        decimal_places=2,
        label="Amount in €",
        help_text="Up to 100 € are paid at once; above that the manager decides.",
    )
    manager = forms.EmailField(max_length=200, label="Manager", help_text="Gets a mail, and decides after logging in.")
    id = forms.CharField(
        max_length=180,
        label="Number",
        help_text="Sent twice, the same number is still one expense.",
        widget=forms.TextInput({"spellcheck": "false", "autocomplete": "off"}),
    )

    def clean(self) -> dict[str, Any]:
        """Check that nobody decides on their own expense."""
        found: dict[str, Any] = super().clean() or {}
        if found.get("manager") is not None and self.address("manager") == self.address("employee"):
            self.add_error("manager", ValidationError("Somebody else than the employee has to decide."))
        return found

    def address(self, name: str) -> str:
        """Return an address as accounts have it."""
        return str(self.cleaned_data.get(name, "")).lower()

    @property
    def expense(self) -> dict[str, str]:
        """Return the expense as the workflow gets it: the same one is always the same document."""
        amount = f"{self.cleaned_data['amount']:.2f}"
        return {
            "id": self.cleaned_data["id"],
            "employee": self.address("employee"),
            "amount": amount,
            "manager": self.address("manager"),
        }


def from_document(document: Any) -> ExpenseForm:
    """Check a JSON document. Its addresses and its id are texts; the amount is a number, or one in text."""
    given = document if isinstance(document, dict) else {}
    texts = {name: given.get(name) for name in ("id", "employee", "manager") if isinstance(given.get(name), str)}
    amount = given.get("amount")
    numeric = isinstance(amount, int | float | str) and not isinstance(amount, bool)
    return ExpenseForm({**texts, "amount": amount if numeric else None})


class LoginForm(AuthenticationForm):
    """E-mail address and password."""

    username = UsernameField(label="E-mail", widget=forms.EmailInput({"autocomplete": "username"}))
    error_messages: ClassVar[dict[str, str]] = {
        **AuthenticationForm.error_messages,
        "invalid_login": "The e-mail or the password is not correct.",
    }
