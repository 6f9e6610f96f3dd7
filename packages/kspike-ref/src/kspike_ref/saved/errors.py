"""The error for model files that cannot be loaded."""

from __future__ import annotations

from kspike_ref.saved.text import printable


class ArchiveError(ValueError):
    """A model file that is damaged, hostile, or not what Keras writes.

    Parameters
    ----------
    message : str
        What is wrong. Control characters are escaped, since it may quote the file.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))
