"""What wandb raises, said in a sentence that tells a wrong name from a wrong account and from a server that is away."""

import re
from traceback import walk_tb

_ACCOUNT = re.compile(r"api.?key|\b401\b|unauthorized|not logged in|log ?in\b|credential", re.IGNORECASE)
_NO_PERMISSION = re.compile(r"permission|\b403\b|forbidden|not authorized|access denied", re.IGNORECASE)
_NOT_FOUND = re.compile(r"not found|\b404\b|does not exist", re.IGNORECASE)
_AWAY = re.compile(
    r"timed out|timeout|deadline exceeded|while retrying|connection|dial tcp|no such host|unreachable|\beof\b"
    r"|certificate|\btls\b|\b5\d\d\b",
    re.IGNORECASE,
)


def is_raised_by_wandb(error: Exception) -> bool:
    """Whether an error comes out of wandb, of which many classes have no base in common."""
    return any(
        frame.f_globals.get("__name__", "").partition(".")[0] == "wandb" for frame, _ in walk_tb(error.__traceback__)
    )


def wandb_problem(error: Exception, place: str, remedy: str) -> str:
    """What is wrong, for an error of wandb's.

    Args:
        place: entity and project, as `entity/project`.
        remedy: how another entity or project is named.
    """
    import wandb

    message = " ".join(str(error).split())
    if isinstance(error, wandb.errors.UsageError | ValueError) and not _ACCOUNT.search(message):
        return f"wandb does not take the settings of {place} ({message}); {remedy}"
    # first what says that nobody answered: it quotes addresses and answers in which anything may stand
    if _AWAY.search(message) and not re.search(r"returned error 4\d\d", message):
        return f"wandb can't be reached ({message})"
    if isinstance(error, wandb.errors.AuthenticationError) or _ACCOUNT.search(message):
        return f"wandb does not accept the account ({message}); see WANDB_API_KEY, WANDB_BASE_URL or `wandb login`"
    if _NO_PERMISSION.search(message):
        return f"wandb: no permission to write to {place} ({message}); {remedy}"
    if _NOT_FOUND.search(message):
        return f"wandb: there is no {place} ({message}); {remedy}"
    return f"wandb did not take the run for {place} ({message})"
