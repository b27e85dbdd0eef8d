"""Invitations: one line of text that a device reads as it was written, and nothing else."""

import pytest

from zb_contracts.invitation import TEXT_CHARACTERS_MAX, Invitation
from zb_contracts.problems import INVITATION_MALFORMED, Problem

ROOT = "0f" * 32
LEAKY = Invitation(
    code="ABCD-EFGH-JKLM-NPQR",
    ingest="https://field.example/ingest",
    nats="tls://field.example:4222",
    media="https://field.example/media",
    root=ROOT,
)


def test_an_invitation_is_read_as_it_was_written() -> None:
    text = LEAKY.to_text()
    assert text == (
        "zoneblanche://enrol?v=1&code=ABCD-EFGH-JKLM-NPQR&ingest=https://field.example/ingest"
        f"&nats=tls://field.example:4222&media=https://field.example/media&root={ROOT}"
    )
    assert Invitation.from_text(f"  {text}\n") == LEAKY
    assert Invitation.from_text(f"{text}&hint=later") == LEAKY


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "single line"),
        (LEAKY.to_text() + "&more=" + "x" * TEXT_CHARACTERS_MAX, "single line"),
        (LEAKY.to_text().replace("&", "\n&"), "single line"),
        (LEAKY.to_text().replace("zoneblanche", "https"), "does not begin"),
        (LEAKY.to_text().replace("enrol", "wipe"), "does not begin"),
        (LEAKY.to_text().replace("v=1", "v=2"), "another version"),
        (LEAKY.to_text() + "&code=AAAA-BBBB", "stands twice"),
        (LEAKY.to_text().replace(ROOT, ROOT[2:]), "impossible: root"),
        (LEAKY.to_text().replace("tls://", "javascript://"), "impossible: nats"),
        (LEAKY.to_text().replace("https://field.example/media", ""), "impossible: media"),
    ],
)
def test_what_is_no_invitation_is_refused_by_name(text: str, reason: str) -> None:
    with pytest.raises(Problem, match=reason) as refused:
        Invitation.from_text(text)
    assert refused.value.kind is INVITATION_MALFORMED
