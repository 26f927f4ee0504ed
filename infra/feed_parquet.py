"""From Parquet to CSV for COPY, batch by batch, so that memory does not follow the size of the file.

Whole numbers, decimals and times keep every digit. Only the columns that the layout maps are read. Imported when a
Parquet file is met and not before: pyarrow alone takes longer to load than all of the command line.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from infra.feed_bytes import FeedBytes
from infra.feed_layouts import Layout

BATCH: Final = 1 << 14  # rows
_MAGIC: Final = b"PAR1"


def open_parquet(source: FeedBytes) -> pq.ParquetFile:
    """Read the whole file once for its hash, then open it.

    Raises ``FeedRefused`` when it is missing, cut or not Parquet.
    """
    begin, end = b"", b""
    for block in source.raw():
        begin, end = begin or block[:4], (end + block)[-4:]
    if begin != _MAGIC:
        source.refuse("is empty or not a Parquet file: ask for the file again, or rename it to what it is")
    if end != _MAGIC:
        source.refuse("is cut off, its footer is missing: ask for the whole file; no row of this one was taken")
    try:
        return pq.ParquetFile(source.path, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        source.refuse(f"is damaged ({_first_line(error)}): ask for the file again")


def csv_from_parquet(
    source: FeedBytes, file: pq.ParquetFile, layout: Layout, progress: Callable[[int], None] | None
) -> Iterator[bytes]:
    """Return CSV without header, one record for each row, with the mapped columns in the file's order.

    Raises ``FeedRefused`` at once for columns whose type cannot be a value of a feed, later for damaged data.
    """
    mapped = [name for name in file.schema_arrow.names if name in set(layout.columns.values())]
    for name in mapped:
        _check_type(source, file.schema_arrow.field(name).type, name, layout)
    return _batches(source, file, mapped, layout, progress)


def _batches(
    source: FeedBytes,
    file: pq.ParquetFile,
    mapped: list[str],
    layout: Layout,
    progress: Callable[[int], None] | None,
) -> Iterator[bytes]:
    done, rows = 0, file.metadata.num_rows
    try:
        for batch in file.iter_batches(batch_size=BATCH, columns=mapped):
            texts = [_as_text(batch.column(batch.schema.get_field_index(name)), layout) for name in mapped]
            sink = pa.BufferOutputStream()
            options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed")
            pyarrow.csv.write_csv(pa.table(texts, names=mapped), sink, options)
            yield _checked(source, sink.getvalue().to_pybytes(), done)
            done += batch.num_rows
            if progress:
                progress(source.size * done // max(rows, 1))
    except (pa.ArrowException, OSError) as error:
        source.refuse(f"is damaged after row {done} ({_first_line(error)}): ask for the file again")


def _check_type(source: FeedBytes, kind: Any, name: str, layout: Layout) -> None:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_time = pa.types.is_timestamp(value) or pa.types.is_date(value)
    if is_time and layout.timestamp_format:
        reason = "holds times, not text: remove timestamp_format from the layout"
        source.refuse(reason, None, name)
    plain = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean, pa.types.is_null)
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    if not (is_time or any(accepts(value) for accepts in plain + texts)):
        reason = f"is of the type {kind}, which is no value of a feed: write text, numbers or times, lists joined by |"
        source.refuse(reason, None, name)


def _as_text(column: Any, layout: Layout) -> Any:
    text = column.cast(pa.string())
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if layout.decimal != "." and (pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return pc.replace_substring(text, ".", layout.decimal)
    return text


def _checked(source: FeedBytes, written: bytes, done: int) -> bytes:
    if b"\0" in written:
        source.refuse(f"holds a NUL character after row {done}, which is never text: ask for a clean file")
    try:
        if not written.isascii():
            written.decode()
    except UnicodeDecodeError:
        source.refuse(f"holds text after row {done} that is not UTF-8: write the file again with valid strings")
    return written


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
