"""Names of files from what a step is; whatever a message says, they stay inside the folder."""

import string
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote

from streamer.domain import StepKey, step_text
from streamer.records import FieldNames

#: What a pattern may name; the same words as in record keys.
WORDS = (
    "centre", "source", "expver", "reference_time", "member", "step", "valid_time", "product",
    "parameter",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pattern:
    """A path with words in braces: `{centre}/{reference_time}/{product}/{step}.nc`."""

    text: str

    def __post_init__(self) -> None:
        """Refuse unknown words, and paths that lead out of the folder."""
        for word, form in _words(self.text):
            if word not in WORDS or form:
                raise ValueError(f"found {{{word}{form}}}, wanted one of {', '.join(WORDS)}")
        parts = self.text.split("/")
        if not all(part and not part.startswith(".") and "\0" not in part for part in parts):
            raise ValueError(
                f"found {self.text!r}, wanted a path inside the folder: no part of it empty, "
                "none that begins with a dot"
            )

    @property
    def words(self) -> frozenset[str]:
        """The words that it names."""
        return frozenset(word for word, _ in _words(self.text))

    def path(self, key: StepKey, names: FieldNames) -> PurePosixPath:
        """Return the path, below the folder, of the file that a field belongs to."""
        run = key.run
        told = {
            "centre": run.centre,
            "source": run.source,
            "expver": run.expver,
            "reference_time": run.reference_time.strftime("%Y%m%d%H%M"),
            "member": run.member_text,
            "step": step_text(key.minutes),
            "valid_time": key.valid_time.strftime("%Y%m%d%H%M"),
            "product": names.product,
            "parameter": names.parameter,
        }
        return PurePosixPath(self.text.format(**{n: quoted(told[n]) for n in self.words}))


def quoted(text: str) -> str:
    """Return a text as a part of a file's name: no two texts share one, and none is a way out.

    Letters, digits, `_`, `-` and dots between them stay; all else is `%` and two digits.
    """
    name = quote(text, safe="")
    if not name.strip("."):
        name = name.replace(".", "%2E")
    # An empty part would join its neighbours; no quoted text is a lone %.
    return ("%2E" + name[1:] if name.startswith(".") else name) or "%"


def _words(text: str) -> list[tuple[str, str]]:
    """Return the words in braces, and what follows them inside (a format, a conversion)."""
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"found {text!r}: {error}") from None
    return [
        (word, f"!{change}" if change else f":{form}" if form else "")
        for _, word, form, change in parsed
        if word is not None
    ]
