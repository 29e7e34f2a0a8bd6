"""Who a request is from, what its key may do, and keys that change while the service runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.access.access_control import AccessControl, open_access
from service.access.api_key import KeyLimits
from service.access.key_file import KeyFileError
from service.errors import BodyTooLarge, Forbidden, RateLimited, Unauthenticated
from service.settings import Settings, SettingsError
from tests.access.key_makers import bearer, key, key_file, secret_of


@pytest.fixture
def access() -> AccessControl:
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    return AccessControl(lambda: [key("one"), key("two", scopes=("admin",)), key("old", expires=yesterday)])


@pytest.mark.parametrize(
    ("authorization", "api_key"),
    [
        (bearer("one"), ""),
        (bearer("one").replace("Bearer", "bearer"), ""),
        (bearer("one").replace(" ", "   ") + " ", ""),
        ("", secret_of("one")),
        ("", f" {secret_of('one')} "),
        ("Basic dXNlcjpwYXNz", secret_of("one")),
        (bearer("one"), secret_of("two")),
    ],
)
def test_a_key_is_found_in_either_header(access: AccessControl, authorization: str, api_key: str) -> None:
    """Authorization goes before x-api-key, unless it has another scheme."""
    assert access.identify(authorization.encode(), api_key.encode()).name == "one"


@pytest.mark.parametrize(
    ("authorization", "api_key", "reason", "name"),
    [
        ("", "", "missing", "unknown"),
        ("Bearer", "", "missing", "unknown"),
        ("Bearer ", "  ", "missing", "unknown"),
        ("Basic dXNlcjpwYXNz", "", "scheme", "unknown"),
        (secret_of("one"), "", "scheme", "unknown"),
        ("Bearer nobody", "", "unknown", "unknown"),
        (bearer("one") + "x", "", "unknown", "unknown"),
        (bearer("one")[:-1], "", "unknown", "unknown"),
        (bearer("one").upper(), "", "unknown", "unknown"),
        ("Bearer " + "x" * 30_000, "", "unknown", "unknown"),
        ("Bearer \xff\x00", "", "unknown", "unknown"),
        ("", "nobody", "unknown", "unknown"),
        (bearer("old"), "", "expired", "old"),
    ],
)
def test_a_request_without_a_valid_key_is_told_why(
    access: AccessControl, authorization: str, api_key: str, reason: str, name: str
) -> None:
    with pytest.raises(Unauthenticated) as refused:
        access.identify(authorization.encode("latin-1"), api_key.encode())
    assert refused.value.reason == reason
    assert secret_of("one") not in str(refused.value)
    assert access.refusals[name, reason] == 1


def test_a_key_of_todays_date_is_valid_today() -> None:
    access = AccessControl(lambda: [key("one", expires=datetime.now(UTC).date().isoformat())])
    assert access.identify(bearer("one").encode(), b"").name == "one"


@pytest.mark.parametrize(
    ("scopes", "allowed", "refused"),
    [
        (("predict",), {"predict", "any"}, {"generate", "admin"}),
        (("generate",), {"generate", "any"}, {"predict", "admin"}),
        (("admin",), {"admin", "any"}, {"predict", "generate"}),
        (("predict:m",), {"predict", "any"}, {"generate", "admin"}),
    ],
)
def test_scopes(scopes: tuple[str, ...], allowed: set[str], refused: set[str]) -> None:
    caller = AccessControl(lambda: [key("one", scopes=scopes)]).identify(bearer("one").encode(), b"")
    for scope in allowed:
        caller.admit(scope)  # type: ignore[arg-type]
    for scope in refused:
        with pytest.raises(Forbidden, match=f"scope {scope}"):
            caller.admit(scope)  # type: ignore[arg-type]
    assert caller.num_open == len(allowed)


def test_a_scope_of_one_model_allows_no_other() -> None:
    caller = AccessControl(lambda: [key("one", scopes=("predict:m", "generate"))]).identify(bearer("one").encode(), b"")
    caller.require_model("predict", "m")
    caller.require_model("generate", "n")
    with pytest.raises(Forbidden, match="predict:n"):
        caller.require_model("predict", "n")


@pytest.mark.parametrize(
    ("limits", "begin"),
    [
        ({"requests_per_minute": 2}, 2),
        ({"concurrent_requests": 3}, 3),
    ],
)
def test_requests_beyond_a_limit_are_refused_and_not_counted_as_open(limits: dict[str, int], begin: int) -> None:
    access = AccessControl(lambda: [key("one", limits=KeyLimits.model_validate(limits))])
    caller = access.identify(bearer("one").encode(), b"")
    for _ in range(begin):
        caller.admit("predict")
    for _ in range(3):
        with pytest.raises(RateLimited) as refused:
            caller.admit("predict")
    assert refused.value.retry_after_s > 0
    assert caller.num_open == begin
    assert access.refusals == {("one", next(iter(limits))): 3}


def test_tokens_count_after_the_fact() -> None:
    """The request that goes beyond the limit is answered, and the next one waits for what is owed."""
    limits = KeyLimits(tokens_per_minute=100)
    caller = AccessControl(lambda: [key("one", limits=limits)]).identify(bearer("one").encode(), b"")
    caller.admit("predict")
    caller.charge("m", read_tokens=150, written_tokens=150)
    with pytest.raises(RateLimited) as refused:
        caller.admit("predict")
    assert 115 < refused.value.retry_after_s < 125


@pytest.mark.parametrize(
    ("declared", "fits"),
    [(b"100", True), (b"0100", True), (b"101", False), (b"9" * 40, False), (b"", True), (b"-1", True), (b"x", True)],
)
def test_the_largest_body(declared: bytes, fits: bool) -> None:
    limits = KeyLimits(max_body_bytes=100)
    caller = AccessControl(lambda: [key("one", limits=limits)]).identify(bearer("one").encode(), b"")
    if fits:
        caller.admit("predict", declared)
    else:
        with pytest.raises(BodyTooLarge):
            caller.admit("predict", declared)
    assert caller.num_open == fits


class TestReload:
    """A file of keys that changes under a running service."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        limits = KeyLimits(requests_per_minute=2, concurrent_requests=2)
        return key_file(tmp_path, key("one", id="1", limits=limits), key("two", id="2"))

    @pytest.fixture
    def access(self, path: Path) -> AccessControl:
        return open_access(Settings(api_keys_file=path))

    def reload(self, access: AccessControl) -> str:
        return access.take_over(access.read_again())

    def test_a_new_key_works_and_a_revoked_one_does_not(self, access: AccessControl, path: Path) -> None:
        key_file(path.parent, key("two", id="2"), key("three"))
        assert self.reload(access) == "ok"
        assert access.identify(bearer("three").encode(), b"").name == "three"
        with pytest.raises(Unauthenticated):
            access.identify(bearer("one").encode(), b"")

    def test_a_key_keeps_what_it_has_used_and_its_open_requests(self, access: AccessControl, path: Path) -> None:
        caller = access.identify(bearer("one").encode(), b"")
        caller.admit("predict")
        key_file(path.parent, key("one", id="1", limits=KeyLimits(requests_per_minute=4, concurrent_requests=1)))
        assert self.reload(access) == "ok"
        with pytest.raises(RateLimited, match="1 requests at once"):
            access.identify(bearer("one").encode(), b"").admit("predict")
        caller.end("m")
        assert caller.num_open == 0
        assert dict(caller.limit_headers())[b"x-ratelimit-remaining-requests"] == b"2"

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", '{"keys": [{}]}', '{"keys": 3}', '{"key": []}', "\x00", '{"keys": [{"name": "x"}]}']
    )
    def test_a_broken_file_changes_nothing(self, access: AccessControl, path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8")
        assert self.reload(access) == "failed"
        assert not access.is_current
        assert access.identify(bearer("one").encode(), b"").name == "one"

    def test_a_missing_file_changes_nothing_and_its_return_is_noticed(self, access: AccessControl, path: Path) -> None:
        text = path.read_bytes()
        path.unlink()
        assert self.reload(access) == "failed"
        path.write_bytes(text)
        assert self.reload(access) == "unchanged"
        assert access.is_current

    def test_a_changed_secret_keeps_the_identity(self, access: AccessControl, path: Path) -> None:
        before = access.identify(bearer("one").encode(), b"")
        key_file(path.parent, key("other").model_copy(update={"name": "one", "id": "1"}))
        self.reload(access)
        after = access.identify(bearer("other").encode(), b"")
        assert (after.name, after.identity) == (before.name, before.identity)

    def test_a_key_made_anew_with_the_same_name_has_another_identity(self, access: AccessControl, path: Path) -> None:
        before = access.identify(bearer("one").encode(), b"").identity
        key_file(path.parent, key("one", id="3"))
        self.reload(access)
        assert access.identify(bearer("one").encode(), b"").identity != before

    def test_weights_follow(self, access: AccessControl, path: Path) -> None:
        weights = access.weights
        assert weights == {}
        key_file(path.parent, key("one", id="1", weight=2.0), key("two", id="2", weight=0.5))
        self.reload(access)
        assert weights == {"key:one": 2.0, "key:two": 0.5}
        key_file(path.parent, key("two", id="2"))
        self.reload(access)
        assert weights == {}


SettingsOf = Callable[[Path], Settings]


@pytest.mark.parametrize(
    ("settings_of", "names"),
    [
        (lambda path: Settings(), None),
        (lambda path: Settings(api_keys_file=""), None),
        (lambda path: Settings(api_keys=" "), None),
        (lambda path: Settings(api_keys_file=path), {"one", "two"}),
        (lambda path: Settings(api_keys=f"env={secret_of('env')}"), {"env"}),
        (lambda path: Settings(api_keys=f"env={secret_of('env')},", api_keys_file=path), {"env", "one", "two"}),
        (lambda path: Settings(api_keys=path.read_text(encoding="utf-8")), {"one", "two"}),
    ],
)
def test_keys_come_from_a_file_and_from_the_environment(
    tmp_path: Path, settings_of: SettingsOf, names: set[str] | None
) -> None:
    access = open_access(settings_of(key_file(tmp_path, key("one"), key("two"))))
    assert access.is_on == (names is not None)
    for name in names or ():
        assert access.identify(bearer(name).encode(), b"").name == name


@pytest.mark.parametrize(
    "settings_of",
    [
        lambda path: Settings(api_keys_file=path.parent / "absent.json"),
        lambda path: Settings(api_keys_file=path.parent),
        lambda path: Settings(api_keys="short"),
        lambda path: Settings(api_keys="name=short"),
        lambda path: Settings(api_keys=f"Name={secret_of('x')}"),
        lambda path: Settings(api_keys=f"anonymous={secret_of('x')}"),
        lambda path: Settings(api_keys=f"a={secret_of('x')},b={secret_of('x')}"),
        lambda path: Settings(api_keys=f"one={secret_of('x')}", api_keys_file=path),
        lambda path: Settings(api_keys='{"keys": [{"name": "a"}]}'),
    ],
)
def test_keys_that_cannot_be_read_stop_the_start_and_show_no_secret(tmp_path: Path, settings_of: SettingsOf) -> None:
    with pytest.raises(SettingsError) as refused:
        open_access(settings_of(key_file(tmp_path, key("one"))))
    assert "unroll keys --help" in str(refused.value)
    assert secret_of("x") not in str(refused.value)


@pytest.mark.parametrize(("mode", "is_warned"), [(0o600, False), (0o644, False), (0o664, True), (0o602, True)])
def test_a_file_that_others_may_write_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, is_warned: bool
) -> None:
    path = key_file(tmp_path, key("one"))
    path.chmod(mode)
    open_access(Settings(api_keys_file=path))
    assert ("others may write" in caplog.text) == is_warned


def test_a_reading_that_fails_is_raised_at_the_start() -> None:
    def read() -> list[object]:
        raise KeyFileError("nothing there")

    with pytest.raises(KeyFileError):
        AccessControl(read)  # type: ignore[arg-type]
