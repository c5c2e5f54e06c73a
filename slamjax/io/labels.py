"""Label tables as files: FITS, with the meaning of every flag in the header."""

from __future__ import annotations

import numpy as np
from astropy.io import fits
from astropy.table import QTable, Table

from slamjax._util.files import atomic_path, existing_file
from slamjax.errors import SlamError
from slamjax.flags import FLAG_MEANINGS, Flag


def write_labels(table: Table, path: object) -> None:
    """Write a label table as FITS, HDU LABELS, with the meaning of every flag in the header."""
    plain = table.copy()
    plain.meta.clear()
    for name in plain.colnames:
        if plain[name].dtype.kind == "U":  # FITS holds ASCII only; a label table must not fail for a star's name
            plain[name] = np.char.encode(np.asarray(plain[name]).astype(str), "ascii", "replace")
    sheet = fits.table_to_hdu(plain)
    sheet.name = "LABELS"
    sheet.header["LABELS"] = (table.meta.get("labels", ""), "labels, in the order of cov")
    for flag in Flag:
        sheet.header.add_comment(f"flags & {int(flag)}: {flag.name}: {FLAG_MEANINGS[flag]}")
    with atomic_path(str(path)) as temporary:
        fits.HDUList([fits.PrimaryHDU(), sheet]).writeto(temporary, overwrite=True, checksum=True)


def read_labels(path: object) -> QTable:
    """Read back what `write_labels` wrote."""
    source = existing_file(str(path))
    try:
        with fits.open(source, memmap=False) as hdus:
            if "LABELS" not in hdus:
                raise SlamError(f"{source} has no HDU LABELS; it is not a table that slamjax fit has written")
            names = hdus["LABELS"].header.get("LABELS", "")
            table = QTable.read(hdus["LABELS"], mask_invalid=False)  # NaN says that a fit failed: nothing is masked
    except OSError as error:
        raise SlamError(f"{source} cannot be read as FITS ({error}); is it complete?") from error
    for name in table.colnames:
        table[name] = table[name].astype(table[name].dtype.newbyteorder("="))  # FITS is big-endian, JAX takes native
    table.meta.clear()
    table.meta["labels"] = names
    return table
