"""Run the notebooks of this folder and write their outputs into them.

Usage: python examples/notebooks.py [NOTEBOOK ...]
"""

import pathlib
import sys
import tempfile

import nbformat
from nbclient import NotebookClient

FOLDER = pathlib.Path(__file__).parent
SECONDS = 600  # that a cell may take


def run(path: pathlib.Path, folder: pathlib.Path) -> nbformat.NotebookNode:
    """Return a notebook with the outputs of a run in a folder; raise if a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=resources).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day
        if "outputs" in cell:
            # Without what TensorFlow logs, and text beside pictures and tables.
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
            for data in [each.data for each in cell.outputs if "data" in each]:
                if len(data) > 1:
                    data.pop("text/plain", None)
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
    return notebook


def main() -> None:
    """Run the notebooks that are named, or all."""
    for path in [pathlib.Path(each) for each in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            notebook = run(path, pathlib.Path(folder))
        nbformat.write(notebook, path)
        print(f"Ran {path}")


if __name__ == "__main__":
    main()
