"""Mail, sent as the environment says.

With `SMTP_HOST` it goes to that server, at `SMTP_PORT` (25). With `MAIL_OUTBOX` it is written into that folder, one
`.eml` file for each mail. With neither it is logged. What goes wrong is raised: then the step that sends is repeated.
"""

from __future__ import annotations

import hashlib
import logging
import os
import smtplib
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from pathlib import Path

logger = logging.getLogger("mail")

SENDER = os.environ.get("MAIL_FROM", "noreply@example.com")


def send(key: str, to: str, subject: str, text: str) -> None:
    """Send a mail. A repeated step sends it again under the same key: the same Message-ID, and the same file."""
    number = hashlib.sha256(key.encode()).hexdigest()[:32]
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Subject"] = SENDER, to, subject
    message["Date"], message["Message-ID"] = formatdate(), f"<{number}@{SENDER.rpartition('@')[2]}>"
    message.set_content(text, cte="8bit")  # long lines stay whole: a link can be copied out of the source
    host, outbox = os.environ.get("SMTP_HOST"), os.environ.get("MAIL_OUTBOX")
    if host:
        with smtplib.SMTP(host, int(os.environ.get("SMTP_PORT", "25")), timeout=10) as server:
            server.send_message(message)
    if outbox:
        write(Path(outbox), f"{number}.eml", message.as_bytes())
    if not host and not outbox:
        logger.info("Mail to %s: %s\n\n%s", to, subject, text)


def write(folder: Path, name: str, content: bytes) -> None:
    """Write a file so that nobody ever sees a part of it."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{name}.{os.getpid()}"
    unfinished.write_bytes(content)
    unfinished.replace(folder / name)
