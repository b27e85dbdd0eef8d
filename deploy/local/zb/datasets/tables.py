"""Writing a dataset's CSV files."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence


def csv_bytes(
    columns: Sequence[str], rows: Iterable[Mapping[str, str]], *, delimiter: str = ",", encoding: str = "utf-8"
) -> bytes:
    """The rows under a header line; a column that a row lacks stays empty."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, restval="", delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode(encoding)
