"""Bytes and values that are nearly right."""

import random
from typing import Any, Callable, List, Sequence

# What breaks readers: limits of integers, separators, marks of other encodings.
INTERESTING = [
    *(b"", b"\0", b"\xff", b"\t", b"\n", b"\r\n", b",", b'"', b"\xef\xbb\xbf", b"\xff\xfe"),
    *(b"\0" * 8, b"\xff" * 4, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80" * 4),
    *(b"-1", b"0", b"9" * 18, b"9" * 30, b"1e999", b"nan", b"..", b"/", b"../../", b"{}", b"[[["),
    *("ü夜".encode(), "\u2028\x85".encode(), b"\xed\xa0\x80", b"A" * 5000),
]
VALUES = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**70, -(2**63), 1e308, float("nan"), "", "768"),
    *([], {}, [[]], "eat", "../../etc/passwd", "\0", b"bytes", [1] * 1000, {"a": {"b": 1}}, 0.5),
]


def mutate_bytes(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Change a few places of `data`; parts may come from `others`."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8, 32))):
        data = rng.choice(_MUTATIONS)(data, others, rng)
    return data


def _place(data: bytes, rng: random.Random) -> int:
    """Anywhere, but more often near the start, where headers are."""
    return rng.randrange(len(data) + 1) if rng.random() < 0.5 else min(len(data), rng.randrange(64))


def _flip(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    at = _place(data, rng)
    return (
        data[:at] + bytes(b ^ (1 << rng.randrange(8)) for b in data[at : at + 1]) + data[at + 1 :]
    )


def _overwrite(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    at, new = _place(data, rng), rng.choice(INTERESTING)
    return data[:at] + new + data[at + len(new) :]


def _insert(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.choice(INTERESTING) + data[at:]


def _delete(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice((1, 2, 4, 100, 10_000)) :]


def _repeat(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    at, size = _place(data, rng), rng.choice((1, 8, 100, 1000))
    return data[:at] + data[at : at + size] * rng.choice((2, 3, 20)) + data[at + size :]


def _truncate(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    return data[: _place(data, rng)]


def _splice(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    other = rng.choice(others)
    return data[: _place(data, rng)] + other[_place(other, rng) :]


def _randomise(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    at, size = _place(data, rng), rng.choice((1, 4, 64))
    return data[:at] + rng.randbytes(size) + data[at + size :]


_MUTATIONS: List[Callable[[bytes, Sequence[bytes], random.Random], bytes]] = [
    *(_flip, _overwrite, _insert, _delete, _repeat, _truncate, _splice, _randomise)
]


def mutate_value(value: Any, rng: random.Random, depth: int = 0) -> Any:
    """The same nested dicts and lists, with one place changed, removed or added."""
    if isinstance(value, dict) and value and (depth == 0 or rng.random() < 0.85):
        value = dict(value)
        key = rng.choice(list(value))
        action = rng.random()
        if action < 0.1:
            del value[key]
        elif action < 0.2:
            value[rng.choice(["", "new", 3, None, f"{key}x"])] = rng.choice(VALUES)
        else:
            value[key] = mutate_value(value[key], rng, depth + 1)
        return value
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        return [*value[:at], mutate_value(value[at], rng, depth + 1), *value[at + 1 :]]
    return rng.choice(VALUES)
