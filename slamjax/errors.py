"""Errors and warnings: one sentence that says what is wrong, where, and what to do."""

from __future__ import annotations


class SlamError(ValueError):
    """Invalid input or an unreadable file; the message names the file, row, column or argument.

    Examples
    --------
    >>> import slamjax
    >>> slamjax.Recipe.make(wave_range=(900, 400))
    Traceback (most recent call last):
        ...
    slamjax.errors.SlamError: the wavelength range 900 to 400 nm is empty; give low < high
    """


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
