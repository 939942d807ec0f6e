"""k2.native in the driver, and its way to the workers."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark import SparkFiles, cloudpickle

from k2.spark.dataframe import on_workers
from k2.spark.dataframe.on_workers import NativeModuleError
from k2.spark.engine.program import add_archive
from k2.spark.utils.errors import ConfigurationError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Spark's workers need not have this package.
cloudpickle.register_pickle_by_value(on_workers)

_shipped: set[str] = set()  # by application


def load_native() -> Any:
    """k2.native. ConfigurationError: it cannot be loaded here, or what Spark needs for Arrow is missing."""
    try:
        importlib.import_module("pandas")  # mapInArrow asks for it
        import pyarrow

        from k2 import native
    except ImportError as error:
        raise ConfigurationError(
            f"--engine spark validates messages with k2.native, and hands them over with pyarrow: {error}. Install "
            "K2's wheel (pip install ./python), pyarrow 14 or newer and pandas; the C++ engine (--engine native) needs "
            "none of them"
        ) from None
    if not hasattr(pyarrow.RecordBatch, "__arrow_c_array__"):
        raise ConfigurationError(f"pyarrow {pyarrow.__version__} is too old for k2.native: install 14 or newer")
    return native


def ship_native(spark: SparkSession) -> Any:
    """The same, and the workers can load it, too: as the file that the driver has, which serves the same platform and
    version of Python. K2_ARCHIVE, or --archives, brings it with the libraries that it needs; a wheel that is installed
    on the workers serves any platform."""
    native = load_native()
    context = spark.sparkContext
    if context.applicationId not in _shipped:
        archive = os.environ.get("K2_ARCHIVE", "")
        if Path(archive).is_file():  # of the native engine's jobs, it may be
            add_archive(context, archive)
        file = Path(native._k2_native.__file__)
        if file.parent != Path(SparkFiles.getRootDirectory()):  # where --py-files has brought it
            context.addFile(str(file))
        _shipped.add(context.applicationId)
    return native


def refused_by_worker(error: BaseException) -> ConfigurationError | None:
    """Where a worker could not load the module: what it said."""
    text = str(error)
    if found := re.search(rf"{NativeModuleError.__name__}: (.+)", text):
        return ConfigurationError(found[1])
    if found := re.search(r"No module named '(?:pyarrow|pandas)'", text):
        return ConfigurationError(
            f"the Python of Spark's workers: {found[0]}. Install pyarrow 14 or newer and pandas there, or name "
            "a Python that has them (PYSPARK_PYTHON)"
        )
    return None
