"""What is recorded or shown of a URL has no name, password or key, and still says where something lies."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.masking import holds_secrets, is_masked, mask_url, mask_urls, mask_value
from cluster.terminal import printable

MASKED = {
    "https://user:pass@host:8080/a/b.mp4": "https://***@host:8080/a/b.mp4",
    "https://token@host/a": "https://***@host/a",
    "https://a:p@ss/w@host/a": "https://***@ss/w@host/a",
    "https://h/v.mp4?X-Amz-Date=1&X-Amz-Credential=AK%2Fx&X-Amz-Signature=ab12": (
        "https://h/v.mp4?X-Amz-Date=1&X-Amz-Credential=***&X-Amz-Signature=***"
    ),
    "https://h/v?sv=2024&sp=r&sig=a%2Bb%3D": "https://h/v?sv=2024&sp=r&sig=***",
    "https://h/v?Policy=p&Signature=s&Key-Pair-Id=k": "https://h/v?Policy=***&Signature=***&Key-Pair-Id=***",
    "https://h/v?GoogleAccessId=x&X-Goog-Signature=s": "https://h/v?GoogleAccessId=x&X-Goog-Signature=***",
    "https://h/v?key=1&api_key=2&apikey=3&access_token=4&auth=5;password=6": (
        "https://h/v?key=***&api_key=***&apikey=***&access_token=***&auth=***;password=***"
    ),
    "https://h/v?%74oken=1": "https://h/v?%74oken=***",
    "https://h/v#access_token=1&x=2": "https://h/v#access_token=***&x=2",
    "s3://key:secret@bucket/a?token=b": "s3://***@bucket/a?token=b",
}
KEPT = [
    "https://www.youtube.com/watch?v=dQw4w9WgXcQ&t=3",
    "https://h/v?author=x&keyword=y&monkey=z&keys=3",
    "https://h/a@b/c.mp4",
    "s3://bucket/a?token=b",
    "/data/https://u:p@h/a?token=1",
    "youtube:dQw4w9WgXcQ",
    "a b.mp4",
    "",
]


@pytest.mark.parametrize("url", MASKED)
def test_names_passwords_and_keys_are_masked(url: str) -> None:
    assert mask_url(url) == MASKED[url]
    assert is_masked(mask_url(url))
    assert not is_masked(url)


@pytest.mark.parametrize("url", KEPT)
def test_all_else_stays(url: str) -> None:
    assert mask_url(url) == url
    assert not is_masked(url)


secrets = st.text("abcXYZ019%", min_size=6, max_size=12).map(lambda text: f"QQ{text}")


@given(secrets, secrets, st.sampled_from(["sig", "Signature", "X-Amz-Security-Token", "key", "pwd", "jwt"]), st.text())
def test_a_secret_is_gone_whatever_surrounds_it(password: str, value: str, name: str, path: str) -> None:
    url = f"https://user:{password}@host/a?b=c&{name}={value}&{path}"
    masked = mask_url(url)
    assert "QQ" not in masked.replace(path, "")
    assert mask_url(masked) == masked
    assert "QQ" not in mask_urls(f"can't read {url.split('&' + path)[0] if path else url}: gone")


def test_urls_in_messages_are_masked_between_quotes_and_with_quotes_in_them() -> None:
    assert (
        mask_urls("found 'http://me:it's@h/a', or http://h/?key=b c")
        == "found 'http://***@h/a', or http://h/?key=*** c"
    )
    assert mask_urls('{"a": "http://me:pass@h/a", "b": "c@d"}') == '{"a": "http://***@h/a", "b": "c@d"}'


def test_long_texts_are_masked_in_a_time_that_grows_as_they_do() -> None:
    begun = time.perf_counter()
    for text in ("a" * 1_000_000, "a://" * 250_000, "http://h/?" + "a&" * 500_000, "@" * 1_000_000):
        mask_urls(text)
        printable(text)
    assert time.perf_counter() - begun < 20
    assert mask_urls("a" * 1000 + "http://me:pass@h/") == "a" * 1000 + "http://***@h/"


def test_values_that_are_called_like_secrets_are_masked() -> None:
    assert mask_value("password", "x") == mask_value("Authorization", "x") == mask_value("Cookie", "x") == "***"
    assert mask_value("proxy", "socks5://u:p@h:1") == "socks5://***@h:1"
    assert mask_value("password", None) is None
    assert holds_secrets(["prepare", "--set=fetch.yt_dlp_options.password=x"])
    assert holds_secrets(["prepare", "https://u:p@h/a.mp4"])
    assert not holds_secrets(["prepare", "list.csv", "--out=x", "prepare.channels=1"])


def test_control_characters_are_shown_and_do_nothing() -> None:
    assert printable("a\x1b]0;evil\x07b\x9b2J\u202ec\tü\n") == "a\\x1b]0;evil\\x07b\\x9b2J\\u202ec\tü\n"
