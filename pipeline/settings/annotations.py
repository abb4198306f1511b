"""What may stand where a settings class says so."""

import types
from collections.abc import Iterable
from typing import Annotated, Any, Union, get_args, get_origin


def registered(annotation: Any, metadata: Iterable[Any] = ()) -> Any:
    """What stands beside an annotation and finds the settings class of a value by its `kind` (`registry.KindOf`); None
    where nothing does.

    Args:
        metadata: what pydantic has taken off the annotation of a field.
    """
    found = (one for one in (*metadata, *getattr(annotation, "__metadata__", ())) if hasattr(one, "settings_of"))
    return next(found, None)


def kinds_of(annotation: Any) -> list[Any]:
    """The kinds of value of an annotation, besides none at all."""
    if get_origin(annotation) is Annotated:
        return kinds_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [kind for one in get_args(annotation) for kind in kinds_of(one)]
    return [] if annotation is type(None) else [annotation]
