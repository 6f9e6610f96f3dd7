"""A trained model of handwritten digits, and data in several file formats, for the command line."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

GOLDEN = Path(__file__).parents[1] / "golden"


def write(folder):
    """Write digits.keras, x.npy (rates in Hz), y.npy, digits.npz, x.csv and digit.png."""
    shutil.copy(GOLDEN / "digits" / "digits.keras", folder)
    with np.load(GOLDEN / "digits" / "digits.npz") as file:
        images, labels = file["images"], file["y"]
    rates = images.astype(np.float32) * np.float32(100 / 16)
    np.save(folder / "x.npy", rates)
    np.save(folder / "y.npy", labels)
    np.savez(folder / "digits.npz", x_test=rates, y_test=labels)
    header = ",".join(f"p{i}" for i in range(64))
    np.savetxt(folder / "x.csv", rates, delimiter=",", fmt="%g", header=header, comments="")
    np.savetxt(folder / "y.csv", labels, fmt="%d")
    pixels = (images[:2].reshape(2, 8, 8) * (255 / 16)).astype(np.uint8)
    Image.fromarray(pixels[0]).save(folder / "digit.png")
    Image.fromarray(pixels[1]).save(folder / "other.png")
