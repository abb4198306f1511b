"""What a failed request to S3 means: whether it may succeed later, and what the server called it."""

import asyncio
from typing import Any

import aiohttp
from botocore.exceptions import (
    ChecksumError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    SSLError,
)
from botocore.exceptions import ConnectionError as BotocoreConnectionError
from botocore.parsers import ResponseParserError

from cluster.patience import Failures

_PASSING_STATUS = {408, 425, 429}
_PASSING_CODES = {
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "XAmzContentSHA256Mismatch",
}
_PASSING_ERRORS = (
    BotocoreConnectionError,
    HTTPClientError,
    ResponseParserError,
    IncompleteReadError,
    ChecksumError,
    FlexibleChecksumError,
    aiohttp.ClientError,
    asyncio.TimeoutError,
    asyncio.IncompleteReadError,
    ConnectionError,
    TimeoutError,
)


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    answer = _answer(error)
    if answer is not None:
        status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = error_code(error)
        return (status >= 500 and status != 501) or status in _PASSING_STATUS or code in _PASSING_CODES
    if isinstance(error, SSLError):
        return "certificate" not in str(error).lower()
    return isinstance(error, _PASSING_ERRORS)


def is_answer(error: BaseException) -> bool:
    """Whether the server said it: somebody is there."""
    return _answer(error) is not None


def is_unreachable(error: BaseException) -> bool:
    """Whether no connection could be made."""
    return isinstance(error, EndpointConnectionError | ConnectTimeoutError)


FAILURES = Failures(is_transient, is_answer, is_unreachable)


def is_precondition_failed(error: BaseException) -> bool:
    """Whether a condition such as `If-None-Match` or `If-Match` did not hold."""
    return error_code(error) in {"PreconditionFailed", "412"}


def error_code(error: BaseException) -> str | None:
    """What S3 called an error (`NoSuchKey`, `412`, …); None where the error is not an answer of the server."""
    answer = _answer(error)
    return None if answer is None else str(answer.get("Error", {}).get("Code", ""))


def _answer(error: BaseException) -> dict[str, Any] | None:
    for one in (error, error.__cause__):
        if isinstance(one, ClientError):
            answer: dict[str, Any] = one.response
            return answer
    return None
