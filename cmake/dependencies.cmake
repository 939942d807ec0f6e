# Where the libraries come from: Debian packages, but for three that Debian does not have, or too old (scripts/setup.sh
# fetches them): Arrow and Parquet out of the pyarrow wheel in .venv, DuckDB and librdkafka out of .deps.
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(CURL 7.85 REQUIRED)
find_package(ZLIB REQUIRED)
find_package(CURL REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(simdjson REQUIRED)
find_package(CLI11 REQUIRED)
find_package(tomlplusplus REQUIRED)
if(K2_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
  enable_testing()
endif()

# Its CMake package asks for the libraries of its own HTTP server and client, which are not used.
find_library(PROMETHEUS_LIBRARY prometheus-cpp-core REQUIRED)
add_library(k2_prometheus INTERFACE)
target_link_libraries(k2_prometheus INTERFACE ${PROMETHEUS_LIBRARY})

find_library(ZSTD_LIBRARY zstd REQUIRED)
add_library(k2_zstd INTERFACE)
target_link_libraries(k2_zstd INTERFACE ${ZSTD_LIBRARY})

find_library(XXHASH_LIBRARY xxhash REQUIRED)
add_library(xxhash INTERFACE)
target_link_libraries(xxhash INTERFACE ${XXHASH_LIBRARY})

set(K2_PYTHON ${CMAKE_SOURCE_DIR}/.venv/bin/python CACHE FILEPATH "Python that has pyarrow installed")
execute_process(COMMAND ${K2_PYTHON} -c "import pyarrow; print(pyarrow.__path__[0], end='')"
                OUTPUT_VARIABLE PYARROW_DIR COMMAND_ERROR_IS_FATAL ANY)
file(STRINGS ${PYARROW_DIR}/include/arrow/util/config.h ARROW_SO_LINE REGEX "ARROW_SO_VERSION ")
string(REGEX MATCH "[0-9]+" ARROW_SO "${ARROW_SO_LINE}")

function(k2_import name so include)
  add_library(${name} SHARED IMPORTED)
  set_target_properties(${name} PROPERTIES IMPORTED_LOCATION ${so} IMPORTED_NO_SONAME OFF)
  target_include_directories(${name} SYSTEM INTERFACE ${include})
endfunction()
foreach(part arrow arrow_compute arrow_s3)
  k2_import(${part}_so ${PYARROW_DIR}/lib${part}.so.${ARROW_SO} ${PYARROW_DIR}/include)
endforeach()
# The wheel's, but for the names of the OpenSSL inside (scripts/setup.sh).
k2_import(parquet_so ${CMAKE_SOURCE_DIR}/.deps/parquet/lib/libk2_parquet.so.${ARROW_SO} ${PYARROW_DIR}/include)
add_library(k2_arrow INTERFACE)
target_link_libraries(k2_arrow INTERFACE parquet_so arrow_compute_so arrow_so)

set(K2_DUCKDB_DIR ${CMAKE_SOURCE_DIR}/.deps/duckdb)
k2_import(k2_duckdb ${K2_DUCKDB_DIR}/lib/libduckdb.so ${K2_DUCKDB_DIR}/include)

find_library(LZ4_LIBRARY lz4 REQUIRED)
set(K2_RDKAFKA_DIR ${CMAKE_SOURCE_DIR}/.deps/librdkafka)
add_library(k2_rdkafka STATIC IMPORTED)
set_target_properties(k2_rdkafka PROPERTIES IMPORTED_LOCATION ${K2_RDKAFKA_DIR}/lib/librdkafka.a)
target_include_directories(k2_rdkafka SYSTEM INTERFACE ${K2_RDKAFKA_DIR}/include)
target_link_libraries(k2_rdkafka INTERFACE CURL::libcurl OpenSSL::SSL OpenSSL::Crypto k2_zstd ${LZ4_LIBRARY} ZLIB::ZLIB
                                           Threads::Threads m ${CMAKE_DL_LIBS})
