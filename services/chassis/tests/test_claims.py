"""NKeys and claims: what is accepted, and every way in which a token or a file is not."""

import base64
import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zb_chassis import claims
from zb_chassis.claims import ClaimError, Credentials, Kind, Nkey, Permissions, decode, encode, with_revocations

OPERATOR = Nkey.generate(Kind.OPERATOR, b"o" * 32)
ACCOUNT = Nkey.generate(Kind.ACCOUNT, b"a" * 32)
USER = Nkey.generate(Kind.USER, b"u" * 32)


def token(**changes: object) -> str:
    arguments: dict[str, object] = {"issued_at": 100, "expires_at": 200} | changes
    return encode(ACCOUNT, USER.public, "leaky-boiler", Kind.USER, {"tags": ["t:anna"]}, **arguments)  # type: ignore[arg-type]


def rewritten(part: int, **changes: object) -> str:
    """The token with one part changed and the old signature."""
    pieces = token().split(".")
    body = json.loads(base64.urlsafe_b64decode(pieces[part] + "=="))
    pieces[part] = base64.urlsafe_b64encode(json.dumps(body | changes).encode()).decode().rstrip("=")
    return ".".join(pieces)


def test_a_token_says_what_was_signed() -> None:
    read = decode(token(), now=150, issuers=[ACCOUNT.public])
    assert (read.issuer, read.subject, read.name) == (ACCOUNT.public, USER.public, "leaky-boiler")
    assert (read.issued_at, read.expires_at, read.kind, read.tags) == (100, 200, "user", ("t:anna",))


def test_the_same_claim_makes_the_same_token() -> None:
    assert token() == token()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (rewritten(1, name="other-boiler"), "signature does not match"),
        (rewritten(1, exp=9_999), "signature does not match"),
        (rewritten(0, alg="none"), "algorithm 'none' is not ed25519-nkey"),
        (rewritten(1, iss=OPERATOR.public), "not a trusted issuer"),
        ("", "three parts"),
        ("a.b", "three parts"),
        ("é.ü.ö", "not base64 JSON"),
        ("W10.W10.W10", "not JSON objects"),
        (token()[:-4] + "AAAA", "signature does not match"),
        ("." * 2 + "x" * claims.TOKEN_BYTES_MAX, "three parts"),
    ],
)
def test_a_changed_token_is_refused_with_its_reason(bad: str, reason: str) -> None:
    with pytest.raises(ClaimError, match=reason):
        decode(bad, now=150, issuers=[ACCOUNT.public])


@pytest.mark.parametrize(("now", "holds"), [(199, True), (200, False), (10_000, False)])
def test_a_token_ends_at_its_time(now: int, holds: bool) -> None:
    if holds:
        assert decode(token(), now=now).expires_at == 200
    else:
        with pytest.raises(ClaimError, match="expired at 200"):
            decode(token(), now=now)


def test_a_token_without_an_end_never_expires() -> None:
    assert decode(token(expires_at=None), now=1e12).expires_at is None


def test_a_claim_about_a_key_of_another_kind_is_not_made() -> None:
    with pytest.raises(ClaimError, match="is not a public key of kind user"):
        encode(ACCOUNT, OPERATOR.public, "x", Kind.USER, {}, issued_at=0)


@given(st.binary(min_size=32, max_size=32), st.sampled_from(Kind))
def test_a_seed_gives_the_same_key_again(entropy: bytes, kind: Kind) -> None:
    key = Nkey.generate(kind, entropy)
    assert Nkey.from_seed(key.seed) == key
    assert key.public.startswith(kind.letter)
    claims.verify(key.public, b"message", key.sign(b"message"))
    with pytest.raises(ClaimError):
        claims.verify(key.public, b"another", key.sign(b"message"))


@pytest.mark.parametrize("seed", [b"", b"SU", b"not base32 !", USER.public.encode(), b"A" * 58, b"\xff" * 58])
def test_what_is_no_seed_is_refused_without_being_shown(seed: bytes) -> None:
    with pytest.raises(ClaimError, match=r"^not an NKey seed of an operator, account or user$"):
        Nkey.from_seed(seed)


@pytest.mark.parametrize("public", ["", "U", USER.public[:-1], USER.public[:-1] + "A", USER.public.lower(), "é"])
def test_a_public_key_with_a_wrong_checksum_is_refused(public: str) -> None:
    with pytest.raises(ClaimError, match="not a public NKey"):
        claims.checked_public(public, Kind.USER)


def test_secrets_are_not_in_the_representation() -> None:
    shown = repr(Credentials(token(), USER))
    assert USER.seed.decode() not in shown
    assert token() not in shown


def test_a_credentials_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "anna.creds"
    path.write_text(Credentials(token(), USER).text())
    path.chmod(stat.S_IRUSR)
    read = Credentials.read(path)
    assert (read.token, read.key, read.name) == (token(), USER, "leaky-boiler")


def test_a_wrong_credentials_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "anna.creds"
    with pytest.raises(ClaimError, match=r"anna\.creds: .*No such file"):
        Credentials.read(path)
    path.write_text("-----BEGIN NATS USER JWT-----\nonly a token\n------END NATS USER JWT------\n")
    with pytest.raises(ClaimError, match=r"anna\.creds: a credentials file holds one token and one seed"):
        Credentials.read(path)


def test_no_permission_means_that_nothing_is_allowed() -> None:
    assert Permissions().as_claim() == {"pub": {"deny": [">"]}, "sub": {"deny": [">"]}}


def account(**revocations: int) -> claims.Claims:
    body = {"limits": {"subs": 1}, "revocations": revocations} if revocations else {"limits": {"subs": 1}}
    return decode(encode(OPERATOR, ACCOUNT.public, "DEV", Kind.ACCOUNT, body, issued_at=1), now=0)


def test_revoking_adds_and_keeps_the_later_time() -> None:
    body = with_revocations(account(anna=50, bert=60), {"anna": 40, "bert": 70, "carl": 80}, prune_before=0)
    assert body == {"limits": {"subs": 1}, "revocations": {"anna": 50, "bert": 70, "carl": 80}}


def test_revocations_older_than_the_longest_token_are_pruned() -> None:
    assert with_revocations(account(anna=50), {"bert": 60}, prune_before=55)["revocations"] == {"bert": 60}
    assert "revocations" not in with_revocations(account(anna=50), {}, prune_before=55)
