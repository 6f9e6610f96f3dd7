"""Check that shape inference does not change a layer."""

from contextlib import suppress

import numpy as np

from kspike_ref.layers.errors import UnsupportedUseError
from kspike_ref.running.graph import substitute
from kspike_ref.saved.archive import ArchiveError


def check_layers_stay(model):
    """Infer shapes for lengths, units and axes unlike the model's; fail if a layer changes."""
    before = [_snapshot(layer) for layer in model.layers]
    for batch, length, extra in ((2, 4, 0), (3, 6, 0), (2, 4, 1), (1, 1, -1)):
        for node in model.nodes:
            if node.inputs:
                _infer(node, batch, length, extra)
    for layer, kept in zip(model.layers, before, strict=True):
        assert _snapshot(layer) == kept, layer.name


def _infer(node, batch, length, extra):
    """Call every shape method of a layer; it may refuse shapes that do not fit."""
    layer, known = node.layer, dict(zip(node.inputs, node.input_shapes, strict=True))

    def shape(ref):
        first, *others = (length if n is None else n for n in known[ref])
        units = [n + extra for n in others[-1:]] if extra > 0 else others[-1:]
        return (batch if known[ref][0] is None else first, *others[:-1], *units, *[2] * -extra)

    shapes = substitute(node.arguments, shape)
    keywords = substitute({k: v for k, v in node.keywords.items() if k != "mask"}, shape)
    masks = substitute(node.arguments, lambda ref: len(known[ref]) - 1)
    options = keywords if layer.takes_all_masks else {}
    flat = [shape(ref) for ref in node.inputs]
    made = [tuple(length if n is None else n for n in one) for one in node.output_shapes]
    questions = [
        lambda: layer.output_shape(*shapes, **keywords),
        lambda: layer.weight_shapes(*shapes),
        lambda: layer.parts(*shapes),
        lambda: layer.pointwise(*shapes),
        lambda: layer.streams(*shapes),
        lambda: layer.mask_axes(masks, *shapes, **options),
        lambda: layer.check_again(*shapes),
        lambda: layer.multiply_adds(flat, made),
        lambda: layer.temporaries(flat, made),
    ]
    for question in questions:
        with suppress(ArchiveError, UnsupportedUseError, LookupError, TypeError, ValueError):
            question()


def _snapshot(value, around=()):
    """Return a layer's attributes, and those of all kspike_ref objects within it."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {key: _snapshot(inner, around) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [type(value), *(_snapshot(inner, around) for inner in value)]
    is_ours = type(value).__module__.startswith("kspike_ref.")
    if is_ours and hasattr(value, "__dict__") and id(value) not in around:
        around = (*around, id(value))
        return id(value), {key: _snapshot(inner, around) for key, inner in vars(value).items()}
    return value
