"""Secrets in addresses: what is recorded or shown of a URL is what this leaves of it."""

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_plus

MASK = "***"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_URL_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s\"<>]+")  # a bound, else a long word takes for ever
# names of S3's, CloudFront's, Google's, Azure's and Akamai's signed URLs, and of what programs call such values
_SECRET = re.compile(
    r"sig$|signature|token|secret|passw|pwd|credential|auth(?!or(?!i))|jwt|hmac|hdnea|hdnts|session|policy|sas$|^cookies?$"
    r"|^key$|[-_.]key$|(api|access|private|pair)[-_.]?key|accesskeyid|key[-_]?pair",
    re.IGNORECASE,
)
_LONGEST_SHOWN = 60
_PLACES = ("s3", "s3a", "gs", "gcs", "hf", "file")  # where `?` and `=` are letters of a name


def mask_url(url: str) -> str:
    """A URL without what only its owner should know: name and password before the host, and the values of parameters
    that are called like secrets. All else stays, so that it still says where something lies; a second time changes
    nothing. Whatever is no URL, a path for one, stays as it is."""
    scheme = _URL.match(url)
    if scheme is None:
        return url
    start = scheme.end()
    authority = re.split(r"[/?#]", url[start:], maxsplit=1)[0]
    rest = url[start + len(authority) :]
    _, at, host = authority.rpartition("@")
    if url[: start - 3].lower() not in _PLACES:
        rest = re.sub(r"(?<=[?&;#])([^?&;#=]*)=([^&;#]*)", _mask_parameter, rest)
    return f"{url[:start]}{MASK + at if at else ''}{host}{rest}"


def mask_urls(text: str) -> str:
    """A message with each URL in it masked."""
    return _URL_IN_TEXT.sub(lambda found: mask_url(found[0]), text)


def is_masked(url: str) -> bool:
    """Whether something was taken out of a URL by `mask_url`."""
    return mask_url(url) == url and (
        f"://{MASK}@" in url or re.search(rf"[?&;#][^=]*={re.escape(MASK)}", url) is not None
    )


def mask_value(name: str, value: Any) -> Any:
    """A value as it may be shown: masked where it is called like a secret, the URLs in it masked where it is text."""
    if _SECRET.search(name) and value not in (None, ""):
        return MASK
    return mask_urls(value) if isinstance(value, str) else value


def holds_secrets(words: Iterable[str]) -> bool:
    """Whether the words of a command, `name=value` among them, hold what `mask_url` and `mask_value` would take out."""
    for word in words:
        name, equals, value = word.rpartition("=")
        if mask_urls(word) != word or (equals and mask_value(re.split(r"[.=]", name)[-1], value) != value):
            return True
    return False


def shown(value: Any) -> str:
    """A value as messages show it: on one line, without the secrets of URLs, and cut where it is long."""
    text = mask_urls(repr(value))
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 4]}...{text[-1]}"


def _mask_parameter(parameter: "re.Match[str]") -> str:
    name = unquote_plus(parameter[1])
    return f"{parameter[1]}={MASK}" if _SECRET.search(name) and parameter[2] else parameter[0]
