"""An invitation: what a device needs to enrol (code, addresses, the root's fingerprint) as one line, for a QR code or a link.

The line holds a secret, the one-time code, until it is used or expired. Who may invite, and until when, the server knows; this
writes and reads the text, strictly and within limits.
"""

import re
from typing import Annotated, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from zb_contracts.problems import INVITATION_MALFORMED, Problem

SCHEME: Final = "zoneblanche"
TEXT_CHARACTERS_MAX: Final = 1_024
"""A QR code of this many characters can still be read from a screen."""
URL_CHARACTERS_MAX: Final = 200
_ACTION: Final = "enrol"
_VERSION: Final = "1"

_Url = Annotated[str, StringConstraints(max_length=URL_CHARACTERS_MAX, pattern=r"^(https?|nats|tls|wss?)://[^\s/?#]+[^\s?#]*$")]


class Invitation(BaseModel):
    """Where the platform is reached, the one-time code, and the SHA-256 of the root's public key, in hex."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: Annotated[str, StringConstraints(pattern=r"^[A-Z2-9-]{8,32}$")]
    ingest: _Url
    nats: _Url
    media: _Url
    root: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

    def to_text(self) -> str:
        """`zoneblanche://enrol?v=1&code=...&ingest=...&nats=...&media=...&root=...`, values percent-encoded."""
        return f"{SCHEME}://{_ACTION}?{urlencode({'v': _VERSION, **self.model_dump()}, safe=':/')}"

    @classmethod
    def from_text(cls, text: str) -> "Invitation":
        """What `to_text` wrote; parameters that this version does not know are passed over. Problem INVITATION_MALFORMED."""
        text = text.strip()
        if len(text) > TEXT_CHARACTERS_MAX or not re.fullmatch(r"[\x21-\x7e]+", text):
            raise Problem(INVITATION_MALFORMED, reason=f"it is no single line of at most {TEXT_CHARACTERS_MAX} characters")
        parts = urlsplit(text)
        if (parts.scheme, parts.netloc) != (SCHEME, _ACTION):
            raise Problem(INVITATION_MALFORMED, reason=f"it does not begin with {SCHEME}://{_ACTION}")
        pairs = parse_qsl(parts.query)
        values = dict(pairs)
        if len(values) != len(pairs) or values.get("v") != _VERSION:
            raise Problem(INVITATION_MALFORMED, reason="a parameter stands twice, or it is of another version")
        try:
            return cls(**{name: values.get(name, "") for name in cls.model_fields})
        except ValidationError as fault:
            names = ", ".join(sorted(str(error["loc"][0]) for error in fault.errors()))
            raise Problem(INVITATION_MALFORMED, reason=f"missing or impossible: {names}") from fault
