"""A message as it travels (RFC 5322, an .eml file) into the text that /predict reads."""

import base64
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from paydesk.entities.mail import eml_to_text, split_history
from paydesk.web.answers import MOST_CHARACTERS

_BASE64 = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"


class Message(BaseModel):
    """A message; one whose end is missing (a large attachment) is read as far as it goes."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "message": base64.b64encode(
                    b"Subject: Invoice 2231\r\n\r\nPlease pay 1,250.00 EUR to Northwind Ltd.\r\n"
                ).decode()
            }
        }
    )

    message: str = Field(
        min_length=4, pattern=_BASE64, strict=True, description="The file's bytes in base64."
    )


def mail_text(message: Message) -> dict[str, Any]:
    """Its subject and body as text; empty where it has none."""
    text = eml_to_text(base64.b64decode(message.message))[:MOST_CHARACTERS]
    _, history = split_history(text)
    return {"text": text, "quoted_characters": len(history)}
