"""Loading decord without NVIDIA's libraries.

decord2 opens every CUDA library that it finds among the installed packages when it is imported, which with torch on
board takes 600 MB and a second, although its CPU build uses none of them. So they are hidden from it while it loads.
"""

import sys
from types import ModuleType

_missing = object()
_nvidia = sys.modules.get("nvidia", _missing)
# None in sys.modules makes importlib find nothing of that name
sys.modules["nvidia"] = None  # type: ignore[assignment]  # typeshed leaves out that None is allowed
try:
    import decord
finally:
    del sys.modules["nvidia"]
    if isinstance(_nvidia, ModuleType):
        sys.modules["nvidia"] = _nvidia

decord.logging.set_level(decord.logging.QUIET)  # what fails comes back as an exception

__all__ = ["decord"]
