"""Griffe extensions: methods that a class takes from functions elsewhere, and plain text.

``summary = reports.summary`` and ``register_layer = staticmethod(register_layer)`` in the body of a
class are attributes to a reader of the source, and methods to a caller. The reference shows them as
methods. ``{"a", "b-c"}`` in the place of a type is text to a reader, and an expression to Griffe;
``.. [1]`` before a reference is markup that it does not read.
"""

from __future__ import annotations

import copy
import re

import griffe

ALIAS = re.compile(r"(staticmethod\()?([a-z_]+\.)?([a-z_]+)\)?$")


CHOICES = re.compile(r"^( *\w+ : )\{(.+?)\}", re.MULTILINE)


REFERENCE = re.compile(r"^( *)\.\. (\[\d+\] )", re.MULTILINE)


class MarkupAsText(griffe.Extension):
    """Show choices of values and numbers of references as they are written."""

    def on_object(self, *, obj: griffe.Object, **kwargs: object) -> None:
        """Put words before the values, which then no longer look like Python."""
        if obj.docstring:
            text = CHOICES.sub(r"\1one of \2", obj.docstring.value)
            obj.docstring.value = REFERENCE.sub(r"\1\2", text)


class MethodsFromFunctions(griffe.Extension):
    """Replace such attributes by the functions."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: object) -> None:
        """Look at the class that does this, once its package is read."""
        if pkg.name == "kspike_energy":
            self._replace(pkg["model_energy.ModelEnergy"])

    def _replace(self, cls: griffe.Class) -> None:
        for name, member in list(cls.members.items()):
            found = ALIAS.match(str(member.value)) if member.is_attribute and member.value else None
            place = [*(found[2] or "").split(".")[:-1], found[3]] if found else [""]
            if place[0] not in cls.module.members:
                continue
            target = cls.module
            for part in place:
                target = target[part]
            if target.is_alias:
                target = target.final_target
            if target.is_function:
                cls.set_member(name, self._method(name, target, is_static=bool(found[1])))

    def _method(self, name: str, target: griffe.Function, *, is_static: bool) -> griffe.Function:
        method = copy.copy(target)
        method.name = name
        method.docstring = copy.copy(target.docstring)
        if not is_static:  # the object itself
            method.parameters = griffe.Parameters(*list(target.parameters)[1:])
        return method
