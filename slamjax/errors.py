"""Errors and warnings: one sentence that says what is wrong, where, and what to do."""

from __future__ import annotations

#: Longer messages are cut in the middle: they quote what a file or user gave, and that may be of any length.
_LONGEST = 1500


def _one_line(text: str) -> str:
    """Text that any terminal can show, in one line."""
    text = " ".join(text.encode("utf-8", "backslashreplace").decode().splitlines())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} [...] {text[10 - _LONGEST // 2 :]}"


class SlamError(ValueError):
    """Invalid input or an unreadable file; the message names the file, row, column or argument.

    Examples
    --------
    >>> import slamjax
    >>> slamjax.Recipe.make(wave_range=(900, 400), wave_unit="nm")
    Traceback (most recent call last):
        ...
    slamjax.errors.SlamError: the wavelength range 900 to 400 nm is empty; give low < high
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(_one_line(str(message)))


class SlamWarning(UserWarning):
    """Something that users should know but that did not stop the work.

    Examples
    --------
    Turn slamjax's warnings into errors:

    >>> import warnings
    >>> import slamjax
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", slamjax.SlamWarning)
    """
