"""Run the notebooks of this folder and write their outputs into them.

Usage: python examples/notebooks.py [NOTEBOOK ...]
"""

import pathlib
import sys
import tempfile

import nbformat
from nbclient import NotebookClient

FOLDER = pathlib.Path(__file__).parent
SECONDS = 600  # time limit of a cell


def run(path: pathlib.Path, folder: pathlib.Path) -> nbformat.NotebookNode:
    """Run a notebook in a folder, and return it with its outputs; raise if a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=resources).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # timestamps
        if "outputs" in cell:
            # Drop TensorFlow's logs, and the text versions of pictures and tables.
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
            for data in [each.data for each in cell.outputs if "data" in each]:
                if len(data) > 1:
                    data.pop("text/plain", None)
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
    return notebook


def main() -> None:
    """Run the named notebooks, or all."""
    for path in [pathlib.Path(each) for each in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            notebook = run(path, pathlib.Path(folder))
        nbformat.write(notebook, path)
        print(f"Ran {path}")


if __name__ == "__main__":
    main()
