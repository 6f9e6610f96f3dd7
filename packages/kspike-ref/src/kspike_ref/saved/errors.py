"""The error for model files that cannot be loaded."""

from __future__ import annotations

from kspike_ref.saved.text import printable


class ArchiveError(ValueError):
    """A model file is damaged, hostile, or not in a form that Keras writes.

    Parameters
    ----------
    message : str
        The fault. Control characters are escaped, since the message may quote the file.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))
