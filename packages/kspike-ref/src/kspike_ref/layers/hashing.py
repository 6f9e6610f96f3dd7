"""TensorFlow's hashes of strings: FarmHash's Fingerprint64 [1]_ and SipHash-2-4 [2]_.

References
----------
.. [1] G. Pike, "FarmHash", https://github.com/google/farmhash (``farmhashna::Hash64``).
.. [2] J.-P. Aumasson, D. J. Bernstein, "SipHash: a fast short-input PRF", INDOCRYPT 2012.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

_MASK = (1 << 64) - 1
_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F


def fingerprint64(data: bytes) -> int:
    """Return FarmHash's 64-bit fingerprint, as in ``tf.strings.to_hash_bucket_fast``."""
    for most, hashed in ((16, _up_to_16), (32, _up_to_32), (64, _up_to_64)):
        if len(data) <= most:
            return hashed(data)
    return _longer(data)


def siphash24(data: bytes, key: tuple[int, int]) -> int:
    """Return SipHash-2-4, as in ``tf.strings.to_hash_bucket_strong``.

    The key is the lowest 64 bits of two integers.
    """
    k0, k1 = key[0] & _MASK, key[1] & _MASK
    state = (
        k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D,
        k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573,
    )  # fmt: skip
    whole = len(data) // 8 * 8
    last = int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56
    words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, whole, 8)]
    for word in (*words, last):
        a, b, c, d = state
        a, b, c, d = _sip_round(*_sip_round(a, b, c, d ^ word))
        state = (a ^ word, b, c, d)
    a, b, c, d = state
    state = (a, b, c ^ 0xFF, d)
    for _ in range(4):
        state = _sip_round(*state)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def buckets(
    words: Collection[bytes], count: int, salt: tuple[int, int] | None = None
) -> NDArray[np.int64]:
    """Return the bucket of each string, one of ``count``; a salt is a key and selects SipHash."""
    known: dict[bytes, int] = {}
    for word in words:
        if word not in known:
            hashed = fingerprint64(word) if salt is None else siphash24(word, salt)
            known[word] = hashed % count
    return np.asarray([known[word] for word in words], np.int64)


def _sip_round(a: int, b: int, c: int, d: int) -> tuple[int, int, int, int]:
    a, c = (a + b) & _MASK, (c + d) & _MASK
    b, d = _left(b, 13) ^ a, _left(d, 16) ^ c
    a = _left(a, 32)
    c, a = (c + b) & _MASK, (a + d) & _MASK
    b, d = _left(b, 17) ^ c, _left(d, 21) ^ a
    return a, b, _left(c, 32), d


def _left(value: int, shift: int) -> int:
    return (value << shift | value >> (64 - shift)) & _MASK


def _right(value: int, shift: int) -> int:
    """Rotate the lowest 64 bits of a value; drop the others."""
    value &= _MASK
    return (value >> shift | value << (64 - shift)) & _MASK


def _fetch(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _shift_mix(value: int) -> int:
    value &= _MASK
    return value ^ (value >> 47)


def _mix(u: int, v: int, mul: int) -> int:
    """Hash 128 bits to 64, FarmHash's ``HashLen16``."""
    a = _shift_mix((u ^ v) * mul)
    b = _shift_mix((v ^ a) * mul)
    return (b * mul) & _MASK


def _up_to_16(data: bytes) -> int:
    length = len(data)
    mul = _K2 + length * 2
    if length >= 8:
        a, b = (_fetch(data, 0) + _K2) & _MASK, _fetch(data, length - 8)
        c = (_right(b, 37) * mul + a) & _MASK
        d = ((_right(a, 25) + b) * mul) & _MASK
        return _mix(c, d, mul)
    if length >= 4:
        first = int.from_bytes(data[:4], "little")
        return _mix(length + (first << 3), int.from_bytes(data[-4:], "little"), mul)
    if length:
        y = data[0] + (data[length >> 1] << 8)
        z = length + (data[-1] << 2)
        return _shift_mix(y * _K2 ^ z * _K0) * _K2 & _MASK
    return _K2


def _ends(data: bytes, a: int, mul: int) -> tuple[int, int]:
    """Mix the first and the last 16 bytes into two words; ``a`` is the first word of the data."""
    b = _fetch(data, 8)
    c = _fetch(data, len(data) - 8) * mul
    d = _fetch(data, len(data) - 16) * _K2
    y = (_right(a + b, 43) + _right(c, 30) + d) & _MASK
    return y, (a + _right(b + _K2, 18) + c) & _MASK


def _up_to_32(data: bytes) -> int:
    mul = _K2 + len(data) * 2
    return _mix(*_ends(data, _fetch(data, 0) * _K1, mul), mul)


def _up_to_64(data: bytes) -> int:
    length = len(data)
    mul = _K2 + length * 2
    a = _fetch(data, 0) * _K2
    y, other = _ends(data, a, mul)
    z = _mix(y, other, mul)
    e, f = _fetch(data, 16) * mul, _fetch(data, 24)
    g = (y + _fetch(data, length - 32)) * mul
    h = (z + _fetch(data, length - 24)) * mul
    first = (_right(e + f, 43) + _right(g, 30) + h) & _MASK
    return _mix(first, (e + _right(f + a, 18) + g) & _MASK, mul)


def _weak(data: bytes, at: int, a: int, b: int) -> tuple[int, int]:
    """Hash 32 bytes and two seeds to two words, FarmHash's ``WeakHashLen32WithSeeds``."""
    w, x, y, z = (_fetch(data, at + i) for i in (0, 8, 16, 24))
    a += w
    b = _right(b + a + z, 21)
    c = a
    a += x + y
    b += _right(a, 44)
    return (a + z) & _MASK, (b + c) & _MASK


def _longer(data: bytes) -> int:
    x = (81 * _K2 + _fetch(data, 0)) & _MASK
    y = (81 * _K1 + 113) & _MASK
    z = _shift_mix(y * _K2 + 113) * _K2 & _MASK
    v, w = (0, 0), (0, 0)
    rest = (len(data) - 1) & 63
    for at in range(0, len(data) - 1 - rest, 64):
        x, y, z, v, w = _block(data, at, x, y, z, v, w, _K1, 1)
    mul = _K1 + ((z & 0xFF) << 1)
    first = w[0] + rest
    v = (v[0] + first, v[1])
    w = (first + v[0], w[1])
    x, y, z, v, w = _block(data, len(data) - 64, x, y, z, v, w, mul, 9)
    left = (_mix(v[0], w[0], mul) + _shift_mix(y) * _K0 + z) & _MASK
    return _mix(left, (_mix(v[1], w[1], mul) + x) & _MASK, mul)


def _block(
    data: bytes, at: int, x: int, y: int, z: int, v: tuple[int, int], w: tuple[int, int],
    mul: int, factor: int,
) -> tuple[int, int, int, tuple[int, int], tuple[int, int]]:  # fmt: skip
    """Mix 64 bytes into the state; the last block uses other factors."""
    x = _right(x + y + v[0] + _fetch(data, at + 8), 37) * mul & _MASK
    y = _right(y + v[1] + _fetch(data, at + 48), 42) * mul & _MASK
    x ^= w[1] * factor & _MASK
    y = (y + v[0] * factor + _fetch(data, at + 40)) & _MASK
    z = _right(z + w[0], 33) * mul & _MASK
    v = _weak(data, at, v[1] * mul, x + w[0])
    w = _weak(data, at + 32, z + w[1], y + _fetch(data, at + 16))
    return z, y, x, v, w
