"""The project's own templates in the place of ours: `templates/resonate/status.html` and the like."""

from __future__ import annotations

from typing import Any

from django.template import TemplateDoesNotExist
from django.template.loader import get_template


def override(name: str, context: dict[str, Any]) -> str | None:
    """Render the project's template of that name; None where it has none."""
    try:
        template = get_template(name)
    except TemplateDoesNotExist:
        return None
    return str(template.render(context))
