"""Names that a library, a database or a file system may take for one another: ids, clusters and metadata."""

from __future__ import annotations

from typing import Final

UUID: Final = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"

CODE_LIKE: Final = {
    "__proto__": "polluted",
    "constructor": "function",
    "prototype": "{}",
    "toString": "native code",
    "hasOwnProperty": "no",
    "__class__": "object",
    "$ref": "#/definitions/machine",
    "template": "{{ .Values.cluster }} {{cluster}}",
    "jinja": "{% if x %}{{ 7 * 7 }}{% endif %}",
    "erb": "<%= 7 * 7 %>",
    "interpolated": "#{7 * 7} ${7 * 7} $HOME %(home)s {0} {name}",
    "environment": "${env:HOME}",
    "tag": "!vault ENC[AES256,abc]",
    "formula": "=1+1",
    "a.b": "a key with a dot",
    "a": "and the part before the dot",
    "list[0]": "first",
    "list[]": "any",
    "v" * 63: "63 characters",
    "v" * 64: "64 characters",
    "v" * 253: "253 characters",
    "v" * 254: "254 characters",
    "v" * 255: "255 characters",
    "v" * 256: "256 characters",
    "v" * 257: "257 characters",
}
"""Metadata that some language, template or label would interpret."""

ENCODED: Final = {
    "a b": "a space",
    "a+b": "a plus",
    "a%20b": "an escaped space",
    "%C3%A9": "%7Euser",
    "x/y": "a path",
    "x//y": "an empty part",
    "x/./y": "a dot",
    "x/y/": "a slash at the end",
    "x\\y": "a backslash",
    "dot": "no dot",
    "dot.": "a dot at the end",
    "&amp;": "&lt;b&gt; &#65;",
    "&": "an ampersand",
    "\\u0041": "\\x41\\101\\n",
    '"quoted"': '"a", "b"',
    "quoted": "no quotes",
    UUID: UUID,
    UUID.upper(): UUID.upper(),
    f"{{{UUID}}}": f"urn:uuid:{UUID}",
    UUID.replace("-", ""): UUID.replace("-", ""),
    "1": "1.0",
    "01": "1e0",
    "1.0": "0x1",
    "big": "9007199254740993.0",
    "not a number": "NaN",
    "negative zero": "-0",
    "list": "b,a,b",
    "time": "2024-01-01T00:00:00+00:00",
}
"""Metadata that decoding, cleaning or parsing would change, or make equal."""

COLLATED: Final = {
    "resume": "no accents",
    "r\u00e9sum\u00e9": "accents",
    "\U0001f98a": "a fox",
    "\U0001f98b": "a butterfly",
    "\u2764": "as text",
    "\u2764\ufe0f": "as an emoji",
    "\u03c3": "sigma",
    "\u03c2": "final sigma",
    "\uac00": "a syllable",
    "\u1100\u1161": "its letters",
    "k": "a letter",
    "\u212a": "kelvin",
}
"""Metadata whose keys are equal in some collation or normal form."""

CLUSTER_TAILS: Final = {
    "path": "/a//b/./c/../d/",
    "escaped": "%2Fa%20b+c&amp;",
    "blanks": " In  blanks. ",
    "nul": "\0one\0",
    "decomposed": "-e\u0301\ufb01\u212b\U0001f98a",
    "case": "-Stra\u00dfe",
    "other case": "-STRASSE",
    "long": "-" + "x" * 300,
}
"""Endings of the names of clusters. No cluster has the same name as another once it is cleaned or normalised."""

ODD_CLUSTER_TAIL: Final = "".join(CLUSTER_TAILS[name] for name in ("path", "escaped", "decomposed", "case", "blanks"))
"""All of these at once, except NUL and the long one, which more providers refuse."""

SHARD_TAILS: Final = (
    ("a b", "a+b", "a%20b", "a%2520b"),
    ("x/y", "x//y", "x/./y", "x/y/", "x/z/../y", "x\\y"),
    ("end", "end.", '"end"', "end;v=1", "end?v=1", "end#v1"),
    ("&", "&amp;", "&#38;", "\\u0026"),
    (UUID, UUID.upper(), f"{{{UUID}}}", f"urn:uuid:{UUID}", UUID.replace("-", "")),
    ("1", "01", "1.0", "1e0", "+1", "0x1"),
    ("9007199254740992", "9007199254740993"),
    ("e", "\u00e9", "e\u0301", "\u00e8", "\u0117"),
    ("\U0001f98a", "\U0001f98b", "?", "\ufffd"),
    ("\u2764", "\u2764\ufe0f", "\ufeff\u2764"),
    ("\u03c3", "\u03c2", "\u03a3"),
    ("\uac00", "\u1100\u1161"),
    ("k", "\u212a", "K"),
)
"""Families of endings: shard ids that differ only by them are different shards (FEN-9)."""

ID_LENGTHS: Final = (32, 33, 63, 64, 65, 128, 129, 255, 256, 257, 1024, 1025, 4096, 4097, 8192, 8193, 65_536, 65_537)
"""In characters: each of these ids is the beginning of the next one. Two are longer than every usual limit."""


def similar_ids(own: str) -> list[str]:
    """Returns ids that are not `own`, but may be taken for it once they are decoded, cleaned or normalised."""
    return [
        "".join(f"%{byte:02X}" for byte in own[:1].encode()) + own[1:],
        f"{own}%00",
        f"./{own}",
        f"x/../{own}",
        f"{own}/.",
        f"//{own}",
        f"{own}.",
        f'"{own}"',
        f"{{{own}}}",
        f"urn:uuid:{own}",
        f"{own}?v=1",
        f"{own}#v1",
        f"{own};v=1",
        f"{own}\u200b",
        f"\ufeff{own}",
        f"{own}\u0301",
        "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in own),  # full width
        own.replace("-", "--", 1) if "-" in own else f"{own}-",
        own.replace("-", "_", 1) if "-" in own else f"{own}_",
        f"machines/{own}",
    ]
