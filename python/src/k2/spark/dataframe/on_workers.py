"""What Spark's workers run: k2.native over Arrow batches. Shipped to them by value: they need not have this package."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

# The folder of `make dist`'s archive, and where it has the module.
ARCHIVE_FOLDER = os.path.join("k2", "python")
MODULES = ("_k2_native", "k2.native._k2_native")  # a file that was shipped; an installed wheel


class NativeModuleError(Exception):
    """k2.native cannot be used here; the text says where, why, and what to do."""


def load_native(rules: int) -> Any:
    """The compiled part of k2.native, of the driver's version of the rules."""
    for folder in _archive_folders():
        if os.path.isdir(folder) and folder not in sys.path:
            sys.path.insert(0, folder)
    tried = []
    for name in MODULES:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            tried.append(f"{name}: {error}")
            continue
        if getattr(module, "RULES_VERSION", None) == rules and hasattr(module, "Validator"):
            return module
        tried.append(f"{name}: {module.__file__} is of another version of K2 than the driver's")
    raise _error("k2.native cannot be loaded", "; ".join(tried))


def _archive_folders() -> list[str]:
    from pyspark import SparkFiles

    return [os.path.abspath(ARCHIVE_FOLDER), os.path.join(SparkFiles.getRootDirectory(), ARCHIVE_FOLDER)]


def _error(what: str, why: str) -> NativeModuleError:
    libc = " ".join(platform.libc_ver()) or platform.system()
    here = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {libc}"
    return NativeModuleError(
        f"{what} on {platform.node()} ({here}): {why}. Install K2's wheel for it on every worker (pip install "
        "./python), or give spark-submit --archives the archive of `make dist` as FILE#k2; workers need the driver's "
        "version of Python, and pyarrow 14 or newer"
    )


def validating(
    topics: Mapping[str, tuple[str, str]],
    schemas: Mapping[str, Mapping[str, str]],
    kept: Sequence[str],
    rules: int,
    with_ids: bool,
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """For mapInArrow: of each message the columns `kept`, then those of Validator (python/native/validator.h)."""

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        native = load_native(rules)
        import pyarrow as pa

        if not hasattr(pa.RecordBatch, "__arrow_c_array__"):
            raise _error("cannot pass messages to k2.native", f"pyarrow {pa.__version__} is too old")
        validator = native.Validator(topics, schemas, with_ids=with_ids)
        for batch in batches:
            begin = 0
            for part in pa.table(validator.validate(batch)).to_batches():
                rows = batch.slice(begin, part.num_rows)
                begin += part.num_rows
                columns = [rows.column(rows.schema.get_field_index(name)) for name in kept]
                yield pa.RecordBatch.from_arrays([*columns, *part.columns], [*kept, *part.schema.names])

    return run
