"""What slamjax says when something is wrong: one sentence that tells what, where, and what to do."""

from __future__ import annotations


class SlamError(ValueError):
    """Bad input or a bad file; the message names the file, row, column or argument."""


class SlamWarning(UserWarning):
    """Something a user would want to know that did not stop the work."""
