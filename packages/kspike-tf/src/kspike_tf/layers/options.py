"""Names of options: which a class knows, and which one was meant by another name."""

from __future__ import annotations

import difflib
import inspect
from functools import cache
from typing import Any

import keras

# Of keras.layers.Layer, and what it takes without naming it.
_OF_KERAS = (
    *inspect.signature(keras.layers.Layer.__init__).parameters,
    "input_dim",
    "input_shape",
)
_OTHER_NAMES = {
    "neurons": "size",
    "tau": "tau_initializer",
    "units": "size",
}


def check_options(cls: type, given: dict[str, Any]) -> None:
    """Raise where a class has no option of a name.

    Parameters
    ----------
    cls : type
        A class whose bases in this package pass ``**kwargs`` on to Keras.
    given : dict of str to object
        Keyword arguments.

    Raises
    ------
    TypeError
        If one is unknown; the message has the name that was meant, if there is one like it.
    ValueError
        If a layer is to run backwards, as ``keras.layers.Bidirectional`` asks it to: Keras hides
        a TypeError there.
    """
    known = options_of(cls)
    unknown = [name for name in given if name not in known]
    if not unknown:
        return
    name = unknown[0]
    if name == "go_backwards":
        raise ValueError(
            f"{cls.__name__} runs forwards only and does not work in keras.layers.Bidirectional. "
            "For the other direction, apply a second layer to keras.ops.flip(x, axis=1)"
        )
    other = _OTHER_NAMES.get(name)
    like = [other] if other in known else difflib.get_close_matches(name, known, 1)
    hint = f"Did you mean {like[0]}?" if like else f"It has {', '.join(sorted(known))}."
    raise TypeError(f"{cls.__name__} has no option {name}. {hint} Received: {name}={given[name]!r}")


@cache
def options_of(cls: type) -> tuple[str, ...]:
    """Return the names of all arguments of a class and of the bases that it passes others on to."""
    names: dict[str, None] = {}
    for base in cls.__mro__:
        if base is keras.layers.Layer:
            break
        if "__init__" in vars(base):
            parameters = inspect.signature(base.__init__).parameters.values()  # type: ignore[misc]
            several = inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL
            names |= dict.fromkeys(each.name for each in parameters if each.kind not in several)
    names |= dict.fromkeys(_OF_KERAS)
    names.pop("self", None)
    names.pop("args", None)
    names.pop("kwargs", None)
    return tuple(names)
