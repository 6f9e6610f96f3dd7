"""Threads in machine code: several do a function's work where there is enough of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import tensorflow as tf
from llvmlite import ir

from kspike_tf.scan import code
from kspike_tf.scan.code import NOTHING, NUMBER, POINTER, WORD

# Parts of the work for each thread, at most: some are done sooner than others.
SHARES = 4


def write_call(b: Any, work: Any, items: Any, parts: Any, most: Any, args: Sequence[Any]) -> None:
    """Write a call of a function for all items, in several threads if that is worth it.

    Parameters
    ----------
    b : llvmlite.ir.IRBuilder
        Where it is written.
    work : llvmlite.ir.Value
        The address of a function that takes the first item and the one after the last, and the
        arguments.
    items : llvmlite.ir.Value
        How many there are.
    parts : llvmlite.ir.Value
        How many threads they are worth.
    most : llvmlite.ir.Value
        How many there may be.
    args : sequence of llvmlite.ir.Value
        The arguments.
    """
    for limit in (items, b.mul(most, WORD(SHARES))):
        parts = code.smaller(b, parts, limit)
    helpers = b.sub(code.smaller(b, parts, most), WORD(1))
    if os.name != "posix":
        helpers = WORD(0)
    with b.if_else(b.icmp_signed("<", helpers, WORD(1))) as (by_itself, together):
        with by_itself:
            b.call(_function(b, work, args), [WORD(0), items, *args])
        with together:
            _write_team(b, helpers, [parts, items, work, *args])


def _write_team(b: Any, helpers: Any, values: Sequence[Any]) -> None:
    """Write that helpers are made, which do parts of the work as this thread does."""
    values = [WORD(0), *values]  # the first is the next part
    kind = ir.LiteralStructType([each.type for each in values])
    shared = code.room(b, kind, 1)
    for n, each in enumerate(values):
        b.store(each, b.gep(shared, [NUMBER(0), NUMBER(n)], source_etype=kind))
    member = _member(b.module, kind)
    handles, made = code.room(b, WORD, helpers), code.room(b, WORD, 1)
    b.store(WORD(0), made)
    create = code.library(b.module, "pthread_create", NUMBER, [POINTER] * 4)
    join = code.library(b.module, "pthread_join", NUMBER, [WORD, POINTER])
    with code.each(b, WORD(0), helpers):
        place = code.at(b, handles, b.load(made, typ=WORD), WORD)
        failed = b.call(create, [place, POINTER(None), member, shared])
        # Where the system gives no more threads, those that there are do it all.
        one = b.zext(b.icmp_signed("==", failed, NUMBER(0)), WORD)
        b.store(b.add(b.load(made, typ=WORD), one), made)
    b.call(member, [shared])
    with code.each(b, WORD(0), b.load(made, typ=WORD)) as helper:
        b.call(join, [code.load(b, handles, helper, WORD), POINTER(None)])


def _member(module: Any, kind: Any) -> Any:
    """Write what each thread does: it takes the next part of the work while there is one."""
    member = code.local(module, POINTER, [POINTER], "member")
    shared = member.args[0]
    b = ir.IRBuilder(member.append_basic_block())

    def field(n: int) -> Any:
        place = b.gep(shared, [NUMBER(0), NUMBER(n)], source_etype=kind)
        return b.load(place, typ=kind.elements[n])

    parts, items, work, *args = (field(n) for n in range(1, len(kind.elements)))
    loop, body, after = (b.append_basic_block() for _ in range(3))
    b.branch(loop)
    b.position_at_end(loop)
    # Who is ready takes the next: other threads of TensorFlow use the processor too.
    counter = b.gep(shared, [NUMBER(0), NUMBER(0)], source_etype=kind)
    part = b.atomic_rmw("add", counter, WORD(1), "monotonic")
    b.cbranch(b.icmp_signed("<", part, parts), body, after)
    b.position_at_end(body)
    bounds = [b.udiv(b.mul(items, each), parts) for each in (part, b.add(part, WORD(1)))]
    b.call(_function(b, work, args), [*bounds, *args])
    b.branch(loop)
    b.position_at_end(after)
    b.ret(POINTER(None))
    return member


def _function(b: Any, address: Any, args: Sequence[Any]) -> Any:
    return code.function_at(b, address, NOTHING, [WORD, WORD, *[each.type for each in args]])


@cache
def number() -> int:
    """Return how many threads may work at a time: as many as processors, if TensorFlow may."""
    limit = tf.config.threading.get_intra_op_parallelism_threads()  # 0 is no limit
    # The processors that this process may use; not all systems tell.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return limit or allowed or 1
