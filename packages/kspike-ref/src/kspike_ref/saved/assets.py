"""Files that layers saved beside the weights, such as vocabularies, read on demand."""

from __future__ import annotations

from kspike_ref.saved.container import Folder, Zip
from kspike_ref.saved.errors import ArchiveError
from kspike_ref.saved.limits import budget


class Assets:
    """The files below ``assets/`` in a model file.

    Parameters
    ----------
    files : Zip or Folder
        The model file, open.
    """

    def __init__(self, files: Zip | Folder) -> None:
        self._files = files

    def holds(self, path: str) -> bool:
        """Return whether there is a file below ``assets/``."""
        return self._files.size(_name(path)) is not None

    def read(self, path: str) -> bytes | None:
        """Return the contents of a file.

        Parameters
        ----------
        path : str
            Its path below ``assets/``.

        Returns
        -------
        bytes or None
            None if there is no such file.

        Raises
        ------
        ArchiveError
            If it cannot be read, or is larger than the limit.
        """
        name = _name(path)
        size = self._files.size(name)
        if size is None:
            return None
        budget().read_asset(size, name)
        return self._files.read(name, size)


def _name(path: str) -> str:
    """Return the name of an asset's file; refuse a path that leads out of the model file."""
    parts = path.split("/")
    if any(part in ("", ".", "..") or "\\" in part or ":" in part for part in parts):
        raise ArchiveError(f"a file name may point outside the archive: {path!r:.80}")
    return f"assets/{path}"
