"""Sealed states open only for their owner, before they expire, and in their one valid encoding."""

from __future__ import annotations

import base64
import string
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import StateRefusal, StateRefused
from service.inference.state.sealed_state import StateOwner, StateSealer

ALPHABET = string.ascii_letters + string.digits + "-_"
OLD_KEY, NEW_KEY = "the old key of these tests", "the new key of these tests"
OWNER = StateOwner(model="poet", version="2", digest="ab" * 32, caller="key of Ada")
TTL_S = 60.0
HEADER_BYTES = 25


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def sealer(*keys: str, max_token_bytes: int = 10_000, clock: Clock | None = None) -> StateSealer:
    return StateSealer(keys or (OLD_KEY,), TTL_S, max_token_bytes, clock or Clock())


def assert_refused(sealer: StateSealer, token: str, reason: StateRefusal, owner: StateOwner = OWNER) -> str:
    """The message of the refusal."""
    with pytest.raises(StateRefused) as refused:
        sealer.open(token, owner)
    assert refused.value.reason == reason
    return str(refused.value)


def with_bit_flipped(token: str, bit: int) -> str:
    data = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    data[bit // 8] ^= 1 << bit % 8
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@given(st.binary(max_size=400), st.text(max_size=20), st.text(max_size=20))
def test_a_token_gives_the_payload_back(payload: bytes, model: str, caller: str) -> None:
    """A state opens on another replica with the same key for the same owner."""
    owner = StateOwner(model, "1", "00", caller)
    token = sealer().seal(payload, owner)
    assert set(token) <= set(ALPHABET)
    assert sealer().open(token, owner) == payload


def test_a_token_tells_nothing() -> None:
    """A token reveals neither payload nor claims, and equal states give different tokens."""
    payload = b"what nobody else may know"
    tokens = [sealer().seal(payload, OWNER) for _ in range(2)]
    assert len({token[36:] for token in tokens}) == 2
    for token in tokens:
        data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        assert not [text for text in (payload, b"poet", b"Ada") if text in data]


def test_a_token_of_an_earlier_format_is_refused_as_malformed() -> None:
    """Tokens of the earlier format, with version byte 1, key id, salt and nonce, are refused as malformed."""
    old = base64.urlsafe_b64encode(b"\x01" + bytes(300)).rstrip(b"=").decode()
    assert "not a state token" in assert_refused(sealer(), old, "malformed")


def test_every_flipped_bit_is_noticed() -> None:
    """A flipped bit in the version, time, initialization vector, ciphertext or signature is detected."""
    token = sealer().seal(b"state", OWNER)
    num_bits = len(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))) * 8
    for bit in range(num_bits):
        assert_refused(sealer(), with_bit_flipped(token, bit), "malformed" if bit < 8 else "tampered")


def test_every_other_character_is_noticed() -> None:
    """Each state has one valid encoding: even unused bits of the last character are checked."""
    token = sealer().seal(b"state", OWNER)
    for index, character in enumerate(token):
        for other in {ALPHABET[(ALPHABET.index(character) + step) % 64] for step in (1, 17)}:
            with pytest.raises(StateRefused):
                sealer().open(token[:index] + other + token[index + 1 :], OWNER)


@pytest.mark.parametrize("payload", [b"", b"1", b"12", b"123"])
def test_a_token_has_one_form(payload: bytes) -> None:
    token = sealer().seal(payload, OWNER)
    for other in (token + "=", token + "==", " " + token, token + "\n", token + "A", token[:9] + "*" + token[9:]):
        with pytest.raises(StateRefused):
            sealer().open(other, OWNER)


def test_every_piece_of_a_token_is_refused() -> None:
    token = sealer().seal(b"state", OWNER)
    for length in range(len(token)):
        with pytest.raises(StateRefused):
            sealer().open(token[:length], OWNER)


@given(st.text(max_size=300) | st.text(ALPHABET, max_size=300) | st.binary(max_size=200).map(lambda b: b.hex()))
def test_random_text_is_refused(text: str) -> None:
    with pytest.raises(StateRefused) as refused:
        sealer().open(text, OWNER)
    assert refused.value.reason in ("malformed", "tampered")


@given(st.binary(min_size=HEADER_BYTES + 16, max_size=300))
def test_random_bytes_behind_a_right_start_are_refused(data: bytes) -> None:
    """Random bytes after a valid version and time are refused."""
    start = base64.urlsafe_b64decode(sealer().seal(b"", OWNER)[:12])
    forged = base64.urlsafe_b64encode(start + data).rstrip(b"=").decode()
    assert_refused(sealer(), forged, "tampered")


def test_a_token_of_another_key_is_refused() -> None:
    assert_refused(sealer(NEW_KEY), sealer(OLD_KEY).seal(b"state", OWNER), "tampered")


def test_keys_can_be_changed_without_a_refusal() -> None:
    """At each step of a key rotation, replicas before and after it open each other's tokens."""
    steps = [sealer(OLD_KEY), sealer(OLD_KEY, NEW_KEY), sealer(NEW_KEY, OLD_KEY), sealer(NEW_KEY)]
    for before, after in pairwise(steps):
        assert after.open(before.seal(b"state", OWNER), OWNER) == b"state"
        assert before.open(after.seal(b"state", OWNER), OWNER) == b"state"


def test_the_first_key_seals() -> None:
    """The first key seals, so its tokens open without the old key."""
    assert sealer(NEW_KEY).open(sealer(NEW_KEY, OLD_KEY).seal(b"state", OWNER), OWNER) == b"state"


def test_a_generated_key_is_valid_in_its_own_process_only() -> None:
    ours, other = (StateSealer((), TTL_S, 10_000) for _ in range(2))
    assert ours.has_made_up_key
    assert not sealer().has_made_up_key
    token = ours.seal(b"state", OWNER)
    assert ours.open(token, OWNER) == b"state"
    assert_refused(other, token, "tampered")


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 characters, not 5"):
        sealer(OLD_KEY, "short")


def test_a_token_expires() -> None:
    clock = Clock()
    at_work = sealer(clock=clock)
    token = at_work.seal(b"state", OWNER)
    clock.now_s += TTL_S - 0.01
    assert at_work.open(token, OWNER) == b"state"
    clock.now_s += 0.02
    assert "expired" in assert_refused(at_work, token, "expired")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "novelist"}, "of poet version 2, this is novelist version 2"),
        ({"version": "3"}, "of poet version 2, this is poet version 3"),
        ({"digest": "cd" * 32}, "another bundle that was also called poet version 2"),
    ],
)
def test_a_token_of_another_bundle_is_refused(change: dict[str, str], message: str) -> None:
    token = sealer().seal(b"state", OWNER)
    assert message in assert_refused(sealer(), token, "foreign_model", replace(OWNER, **change))


@pytest.mark.parametrize("caller", ["key of Bob", ""])
def test_a_token_of_another_caller_is_refused(caller: str) -> None:
    """The owner is checked first, so that other callers learn neither model nor age of a token."""
    clock = Clock()
    at_work = sealer(clock=clock)
    token = at_work.seal(b"state", OWNER)
    clock.now_s += 2 * TTL_S
    assert_refused(at_work, token, "foreign_caller", replace(OWNER, caller=caller, model="novelist"))


def test_names_do_not_run_together() -> None:
    """Owners with the same concatenated text but different parts are different."""
    token = sealer().seal(b"state", StateOwner("ab", "1", "c", ""))
    assert_refused(sealer(), token, "foreign_model", StateOwner("a", "b1", "c", ""))
    assert StateOwner("m", "1", "d", "ab").fingerprint("c") != StateOwner("m", "1", "d", "a").fingerprint("bc")


def test_a_token_that_is_too_long_is_refused_unread() -> None:
    limited = sealer(max_token_bytes=300)
    assert "400 bytes, this service takes at most 300" in assert_refused(limited, "!" * 400, "too_large")


def test_no_token_is_issued_that_would_not_be_accepted() -> None:
    token = sealer().seal(bytes(100), OWNER)
    assert sealer(max_token_bytes=len(token)).seal(bytes(100), OWNER)
    with pytest.raises(StateRefused) as refused:
        sealer(max_token_bytes=len(token) - 1).seal(bytes(100), OWNER)
    assert refused.value.reason == "too_large"
