"""What may stand where a settings class says so."""

import types
from typing import Annotated, Any, Union, get_args, get_origin


def kinds_of(annotation: Any) -> list[Any]:
    """The kinds of value of an annotation, besides none at all."""
    if get_origin(annotation) is Annotated:
        return kinds_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [kind for one in get_args(annotation) for kind in kinds_of(one)]
    return [] if annotation is type(None) else [annotation]
