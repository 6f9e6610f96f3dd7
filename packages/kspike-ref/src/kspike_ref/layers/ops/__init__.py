"""The operations of ``keras.ops``, one module per family.

Model files name the class of an operation: ``keras.ops.one_hot`` is ``OneHot``. Search for that
name in this folder to find its implementation, a line of a table or a class. A new operation needs
only a line in a table, or a subclass of `base.Operation` with ``@known("ops:ItsName")`` and its
options in ``options``; and a row in the tables of the cross tests.
"""

from kspike_ref.layers.ops import (  # noqa: F401 (the imports register the operations)
    along_axis,
    casting,
    copies,
    elementwise,
    parts,
    products,
    reductions,
    shapes,
)
