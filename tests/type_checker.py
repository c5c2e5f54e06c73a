"""beartype for jaxtyping's import hook, which decorates functions and methods one by one."""

from typing import Protocol

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep673Exception

# protocols are checked by the names of their methods; in the package nothing asks isinstance of them
Protocol._is_runtime_protocol = True
# an int will do where a float is asked for, as for mypy
_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))


def checked(function):
    """The function with its types checked.

    Left out are methods that return ``Self``, whose class would have to be decorated, and constructors: JAX rebuilds
    pytrees with whatever stands for their leaves, batched arrays and mere shapes among them.
    """
    if function.__name__ == "__init__":
        return function
    try:
        return _checked(function)
    except BeartypeDecorHintPep673Exception:
        return function
