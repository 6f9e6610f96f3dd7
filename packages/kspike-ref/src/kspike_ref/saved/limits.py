"""Limits on the contents of a model file, and the budget of a load.

Model files are treated as untrusted. Every count and size in a file is compared with a limit in
this module before memory is spent on it. The limits are far above the needs of real models: the
largest model of ``keras.applications`` has 2 MB of configuration, 1,000 layers and fewer than
200,000 JSON tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from kspike_ref.saved.errors import ArchiveError
from kspike_ref.saved.shared import SharedObjects

MAX_JSON = 32 << 20  # bytes of config.json, and of metadata.json
MAX_TOKENS = 1_000_000  # "{", "[", "," and ":" in one of these; an object takes 50 bytes
MAX_MEMBERS = 10_000  # files in an archive; Keras writes three, and assets for some layers
MAX_DIRECTORY = 4 << 20  # bytes of the list of files
# Keras stores files without compression. A file that was compressed later is read if it expands to
# at most MAX_EXPANDED bytes, or to MAX_RATIO times its size.
MAX_EXPANDED, MAX_RATIO = 64 << 20, 100
MAX_LAYERS = 10_000  # layers, cells and activations with a configuration of their own
MAX_NODES = 10_000  # applications of layers, counting nested models every time
MAX_DEPTH = 140  # lists and objects of JSON within each other; 43 models within models
MAX_NESTING = 40  # layers within layers
MAX_ELEMENTS = 2**31  # elements in one example of a layer's output
MAX_ASSETS = 32 << 20  # bytes of the vocabularies that layers have in separate files
MAX_WORDS = 1_000_000  # words of all vocabularies, in files and in the configuration
MAX_MADE = 256 << 20  # bytes of arrays whose size is only in the configuration


class Budget:
    """The remaining budget of a load.

    Attributes
    ----------
    layers, made, assets, words : int
        Layers, bytes of arrays of constants, bytes of vocabularies in files, and words of all
        vocabularies.
    depth : int
        The number of layers around the one that is made now.
    layers_made, models_made : SharedObjects
        The layers and models made so far, which may occur several times in the file.
    """

    def __init__(self) -> None:
        self.layers = MAX_LAYERS
        self.made = MAX_MADE
        self.assets, self.words = MAX_ASSETS, MAX_WORDS
        self.depth = 0
        self.layers_made, self.models_made = SharedObjects(), SharedObjects()

    @contextmanager
    def layer(self) -> Iterator[None]:
        """Count one layer; layers that the ``with`` block makes are inside it."""
        self.layers -= 1
        if self.layers < 0:
            raise ArchiveError(f"the model has more than {MAX_LAYERS} layers")
        if self.depth >= MAX_NESTING:
            raise ArchiveError(f"layers are nested too deeply: more than {MAX_NESTING} levels")
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    def make(self, size: int, what: str) -> None:
        """Count the bytes of an array whose size is only in the configuration."""
        self.made -= size
        if self.made < 0:
            raise ArchiveError(f"{what} needs {size} bytes; a model may make {MAX_MADE} in total")

    def read_asset(self, size: int, what: str) -> None:
        """Count the bytes of a vocabulary's file, before it is read."""
        self.assets -= size
        if self.assets < 0:
            raise ArchiveError(f"{what} has {size} bytes; a model may read {MAX_ASSETS} in total")

    def hold_words(self, count: int, what: str) -> None:
        """Count the words of a vocabulary, before objects are made from them."""
        self.words -= count
        if self.words < 0:
            raise ArchiveError(f"{what} has {count} words; a model may have {MAX_WORDS} in total")


# The budget is the only data of a load that does not travel as an argument. Layers spend it in
# `setup`, `load`, `prepare` and `output_shape`, which a user's own layers override, and in 17 more
# functions that these call: an argument would run through all of them and change the interface of
# `register_layer`. Every load sets its own budget, in its own thread or task, and resets it.
_current: ContextVar[Budget | None] = ContextVar("budget", default=None)


@contextmanager
def one_load() -> Iterator[Budget]:
    """Set a new budget for the load in the ``with`` block."""
    budget = Budget()
    token = _current.set(budget)
    try:
        yield budget
    finally:
        _current.reset(token)


def budget() -> Budget:
    """Return the budget of the current load, or a new one outside of a load."""
    current = _current.get()
    return Budget() if current is None else current
