"""What a failed request to Google Cloud Storage means: whether it may succeed later, and whose fault it is."""

import asyncio
from typing import NoReturn

import aiohttp
import google.auth.exceptions
import requests.exceptions
from gcsfs.retry import HttpError

from cluster.errors import AfterTheEndError, GaveUpError, OtherVersionError
from cluster.patience import Failures

_PASSING = {408, 429, 500, 502, 503, 504}
_REFUSED = {401, 403}
_AFTER_THE_END = 416


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, HttpError):
        return _status(error) in _PASSING
    if isinstance(error, google.auth.exceptions.GoogleAuthError):
        return bool(getattr(error, "retryable", False)) or isinstance(error, google.auth.exceptions.TransportError)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return False
    # gcsfs says 502 by a ProxyError
    passing = aiohttp.ClientError | requests.exceptions.RequestException | asyncio.TimeoutError | ConnectionError
    return isinstance(error, passing | TimeoutError)


def is_answer(error: BaseException) -> bool:
    """Whether the server said it: somebody is there."""
    return isinstance(error, HttpError | FileNotFoundError | FileExistsError | requests.exceptions.ProxyError)


def is_unreachable(error: BaseException) -> bool:
    """Whether no connection could be made."""
    return isinstance(error, aiohttp.ClientConnectorError)


FAILURES = Failures(is_transient, is_answer, is_unreachable)


def raise_plainly(error: Exception) -> NoReturn:
    """Raise what `cluster.storage.contract` promises for an error of gcsfs that will not pass."""
    if isinstance(error, FileNotFoundError | PermissionError | GaveUpError):
        raise error
    if isinstance(error, FileExistsError):
        raise OtherVersionError("the condition does not hold") from error
    if isinstance(error, HttpError):
        if _status(error) in _REFUSED:
            raise PermissionError(f"{error}; see GOOGLE_APPLICATION_CREDENTIALS or gcloud auth") from error
        if _status(error) == _AFTER_THE_END:
            raise AfterTheEndError(str(error)) from error
        raise OSError(str(error)) from error
    if isinstance(error, OSError) and str(error).startswith("Forbidden"):
        raise PermissionError(str(error)) from error
    if isinstance(error, google.auth.exceptions.GoogleAuthError):
        raise PermissionError(f"{error}; see GOOGLE_APPLICATION_CREDENTIALS or gcloud auth") from error
    if isinstance(error, ValueError):  # so gcsfs says 400
        raise OSError(str(error)) from error
    raise error


def _status(error: HttpError) -> int:
    code = str(error.code)
    return int(code) if code.isdigit() else 0
