"""Standard Webhooks signatures: the specification's vector, then the reference library as an oracle."""

from __future__ import annotations

import base64
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from collector.alerts import signature

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_vector_of_the_specification() -> None:
    """The published message gets the published signature."""
    headers = signature.headers(
        [signature.parse_secret(SECRET)],
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(
    key=st.binary(min_size=24, max_size=64),
    body=st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner), max_leaves=5
    ),
)
def test_the_reference_library_accepts_every_signature(key: bytes, body: object) -> None:
    """Whatever the secret and the body, a receiver that uses the library believes us."""
    secret = signature.KEY_PREFIX + base64.b64encode(key).decode()
    raw = json.dumps(body, ensure_ascii=False).encode()
    headers = signature.headers([signature.parse_secret(secret)], "msg_1", int(time.time()), raw)
    assert Webhook(secret).verify(raw, headers) == body


def test_a_changed_body_is_refused() -> None:
    """One octet more, and the library refuses it."""
    headers = signature.headers([signature.parse_secret(SECRET)], "msg_1", int(time.time()), b"{}")
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(b"{} ", headers)


def test_while_a_secret_is_replaced_both_old_and_new_receivers_believe_us() -> None:
    """Two secrets sign side by side."""
    other = signature.KEY_PREFIX + base64.b64encode(bytes(range(32))).decode()
    keys = [signature.parse_secret(SECRET), signature.parse_secret(other)]
    headers = signature.headers(keys, "msg_1", int(time.time()), b"{}")
    for secret in (SECRET, other):
        assert Webhook(secret).verify(b"{}", headers) == {}


def test_without_a_secret_there_is_an_id_but_no_signature() -> None:
    """The receiver can still drop what it has seen."""
    assert set(signature.headers([], "msg_1", 5, b"{}")) == {"webhook-id", "webhook-timestamp"}


@pytest.mark.parametrize(
    "text", ["whsec_", "whsec_!!!", "whsec_c2hvcnQ=", "not base64", "whsec_" + "A" * 400]
)
def test_what_is_no_secret_is_refused_without_being_shown(text: str) -> None:
    """The message names the form, never the text."""
    with pytest.raises(ValueError, match=r"is no secret|holds \d+ octets") as refused:
        signature.parse_secret(text)
    assert text.removeprefix("whsec_")[:20] not in str(refused.value) or text == "whsec_"
