"""Whether a place on object storage can be used, how fast it is, and whether its clock and this machine's agree."""

import os
import secrets
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime

from cluster import storage
from cluster.doctor.finding import Finding
from cluster.errors import ForbiddenError, MissingFileError, NotOnceError, StorageError, UnreachableError
from cluster.masking import mask_url
from cluster.patience import PATIENCE, patience_s
from cluster.s3.failures import error_code
from cluster.storage.filesystems import s3_of
from cluster.storage.location import kind_of

_PATIENCE_S = 10.0  # somebody is waiting
_CLOCK_S = 5.0
_TRIAL_BYTES = 8 << 20
_SMALL_READS = 5
_SLOW_MB_S = 20.0
_FAR_S, _REFUSED_S = 60.0, 600.0  # S3 refuses what was signed 15 minutes ago
_ADVICE = {
    "InvalidAccessKeyId": "AWS_ACCESS_KEY_ID names no account there: see that key and AWS_ENDPOINT_URL belong together",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY is not the secret of AWS_ACCESS_KEY_ID: copy both again",
    "RequestTimeTooSkewed": "set this machine's clock (chronyc makestep, or timedatectl set-ntp true)",
    "ExpiredToken": "log in again: AWS_SESSION_TOKEN has run out",
    "InvalidToken": "AWS_SESSION_TOKEN is not one of this account: remove it, or log in again",
}
"""By what S3 calls the error."""
_RIGHTS = {
    "s3": "let the account list, read and write below it (s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject)",
    "gs": "let the account list, read and write below it (the role Storage Object User of the bucket)",
    "hf": "use s3:// or gs:// for what is written, and HF_TOKEN of an account that may read it",
}
_SERVER = {"s3": "AWS_ENDPOINT_URL", "gs": "STORAGE_EMULATOR_HOST, which should not be set,", "hf": "HF_ENDPOINT"}
"""By kind of storage, what says where the server is."""
_ONCE = "use a storage that honours conditional writes (If-None-Match): here two jobs could take the same run"


def object_storage(url: str) -> list[Finding]:
    """Access, pace and clock of a place on object storage (`s3://bucket/prefix`, …). A few objects are written to a
    folder of their own below it, read and removed."""
    with _impatient():
        clock = server_clock(url)
        folder = storage.join(url, f".gavt-doctor-{secrets.token_hex(8)}")
        access = _access(url, folder)
        findings = [access] if clock is None else [clock, access]
        return findings if access.state != "ok" else [*findings, *_use(url, folder)]


def server_clock(url: str) -> Finding | None:
    """How far this machine's clock is from that of an S3 server, by the header `Date` of an answer; None for what is no
    S3, or does not answer: whoever asks for more is told."""
    client = s3_of(url)
    if client is None:
        return None
    context = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE") or None)
    asked = urllib.request.Request(client.endpoint(), method="HEAD")
    try:
        with urllib.request.urlopen(asked, timeout=_CLOCK_S, context=context) as answer:
            date = answer.headers["Date"]
    except urllib.error.HTTPError as refused:  # nobody signed it
        date = refused.headers["Date"]
    except OSError:
        return None
    try:
        off_s = time.time() - parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return None
    shown = f"{abs(off_s):.0f} s {'ahead of' if off_s > 0 else 'behind'} the server's"
    if abs(off_s) < _FAR_S:
        return Finding("clock", "ok", shown)
    state = Finding("clock", "fail" if abs(off_s) > _REFUSED_S else "warn", shown, _ADVICE["RequestTimeTooSkewed"])
    return state


def _access(url: str, folder: str) -> Finding:
    """Whether the place can be asked at all, by a listing, whose refusal says why; that of a HEAD says nothing."""
    try:
        storage.list_files(folder)
    except StorageError as error:
        return _refused(url, error)
    return Finding("storage", "ok", f"{mask_url(url)} answers")


def _use(url: str, folder: str) -> list[Finding]:
    """What a run does there: write, claim, list, read parts; how fast."""
    trial, claim = storage.join(folder, "trial"), storage.join(folder, "claim")
    content = os.urandom(_TRIAL_BYTES)
    try:
        begun = time.monotonic()
        storage.write_bytes(trial, content)
        written = time.monotonic()
        same = storage.read_bytes(trial) == content
        read = time.monotonic()
        claims = [storage.create(claim, b"first"), storage.create(claim, b"second")]
        listed = {storage.name_below(folder, file) for file in storage.list_files(folder)}
        waits = []
        for number in range(_SMALL_READS):
            asked = time.monotonic()
            same &= storage.read_range(trial, number, 1) == content[number : number + 1]
            waits.append(time.monotonic() - asked)
    except ForbiddenError as error:
        if error_code(error.__context__ or error) in _ADVICE:
            return [_refused(url, error)]
        shown = f"{mask_url(url)} may be read, not written"
        return [Finding("storage use", "warn", shown, f"for a run folder, {_RIGHTS[kind_of(url)]}")]
    except StorageError as error:
        if isinstance(error.__cause__, NotOnceError):
            return [Finding("storage use", "fail", f"{mask_url(url)} replaces what was to be written once", _ONCE)]
        return [_refused(url, error)]
    finally:
        _remove([trial, claim])
    if not same or listed != {"trial", "claim"}:
        shown = f"{mask_url(url)} gives other bytes or names than were written"
        return [Finding("storage use", "fail", shown, "use another storage: this one loses what it was given")]
    if claims != [True, False]:
        return [Finding("storage use", "fail", f"{mask_url(url)} replaces what was to be written once", _ONCE)]
    return [
        Finding("storage use", "ok", "written once, listed, read in parts"),
        _pace(written - begun, read - written, waits),
    ]


def _pace(write_s: float, read_s: float, waits: list[float]) -> Finding:
    to, back = (_TRIAL_BYTES / 1e6 / max(1e-6, seconds) for seconds in (write_s, read_s))
    shown = f"writes {to:.0f} MB/s, reads {back:.0f} MB/s by one process; a small read {min(waits) * 1e3:.1f} ms"
    if min(to, back) >= _SLOW_MB_S:
        return Finding("storage pace", "ok", shown)
    advice = "see whether the bucket is in this region, and whether the way there leads through a gateway (NAT, proxy)"
    return Finding("storage pace", "warn", shown, advice)


def _refused(url: str, error: StorageError) -> Finding:
    said = str(error)
    code = error_code(error.__context__ or error)
    if code in _ADVICE:
        return Finding("storage", "fail", f"{mask_url(url)}: {code}", _ADVICE[code])
    if isinstance(error, UnreachableError):
        advice = f"see {_SERVER[kind_of(url)]}, and whether this machine may connect to it (firewall, proxy, DNS)"
    elif isinstance(error, MissingFileError):
        advice = "make the bucket, or correct its name"
    elif isinstance(error, ForbiddenError):
        advice = _RIGHTS[kind_of(url)]
    elif kind_of(url) == "s3" and "credentials" in said.lower():
        advice = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role"
    else:
        advice = f"see {_SERVER[kind_of(url)]}, the region and the name of the bucket"
    return Finding("storage", "fail", said, advice)


def _remove(urls: list[str]) -> None:
    for url in urls:
        try:
            storage.remove(url)
        except StorageError:  # who may write need not be allowed to remove, and the finding is made
            return


@contextmanager
def _impatient() -> Iterator[None]:
    """A block in which a failing storage is given up soon."""
    before = os.environ.get(PATIENCE)
    os.environ[PATIENCE] = str(min(patience_s(), _PATIENCE_S))
    try:
        yield
    finally:
        if before is None:
            del os.environ[PATIENCE]
        else:
            os.environ[PATIENCE] = before
