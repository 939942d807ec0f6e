// _k2_native: what k2.native stands on. Its Python side is python/src/k2/native/__init__.py, its types _k2_native.pyi.
#include <fmt/format.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <limits>

#include "avro/references.h"
#include "exchange/registry.h"
#include "kernel.h"
#include "retention.h"
#include "trade/decoder.h"
#include "trade/identity.h"
#include "trade/message_framing.h"
#include "trade/schema_headers.h"
#include "trade/trade_schema.h"
#include "validator.h"

namespace nb = nanobind;

namespace k2::python {
namespace {

template <typename T>
void FreeCapsule(PyObject* capsule) {
  auto* held = static_cast<T*>(PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule)));
  if (held == nullptr) return;
  if (held->release != nullptr) held->release(held);
  delete held;
}

template <typename T>
nb::object Capsule(std::unique_ptr<T> held, const char* name) {
  PyObject* capsule = PyCapsule_New(held.get(), name, FreeCapsule<T>);
  if (capsule == nullptr) throw nb::python_error();
  (void)held.release();
  return nb::steal(capsule);
}

template <typename T>
T* Held(nb::handle capsule, const char* name) {
  auto* held = static_cast<T*>(PyCapsule_GetPointer(capsule.ptr(), name));
  if (held == nullptr) throw nb::python_error();
  if (held->release == nullptr) throw nb::value_error("the Arrow data was taken by somebody else already");
  return held;
}

// Moves out of the capsule, which then releases nothing.
template <typename T>
void Move(T* from, T* to) {
  *to = *from;
  from->release = nullptr;
}

std::string StreamError(ArrowArrayStream* stream, int code) {
  const char* said = stream->get_last_error(stream);
  return said == nullptr ? fmt::format("error {} of an Arrow stream", code) : said;
}

std::vector<SharedBatch> ReadStream(nb::handle source) {
  const nb::object capsule = source.attr("__arrow_c_stream__")();
  auto* stream = Held<ArrowArrayStream>(capsule, "arrow_array_stream");
  std::vector<SharedBatch> batches;
  while (true) {
    auto batch = std::make_shared<Batch>();
    if (const int code = stream->get_next(stream, &batch->array); code != 0) {
      throw nb::value_error(StreamError(stream, code).c_str());
    }
    if (batch->array.release == nullptr) return batches;
    if (const int code = stream->get_schema(stream, &batch->schema); code != 0) {
      throw nb::value_error(StreamError(stream, code).c_str());
    }
    batches.push_back(std::move(batch));
  }
}

std::vector<SharedBatch> ReadArray(nb::handle source) {
  const nb::object pair = source.attr("__arrow_c_array__")();
  auto batch = std::make_shared<Batch>();
  Move(Held<ArrowSchema>(pair[0], "arrow_schema"), &batch->schema);
  Move(Held<ArrowArray>(pair[1], "arrow_array"), &batch->array);
  return {std::move(batch)};
}

// bytes, texts and None, copied.
std::vector<SharedBatch> ReadSequence(nb::handle source, const std::string& name) {
  std::string data;
  std::vector<int32_t> ends;
  std::vector<bool> is_null;
  for (const nb::handle item : source) {
    const char* bytes = "";
    Py_ssize_t size = 0;
    is_null.push_back(item.is_none());
    if (PyBytes_Check(item.ptr())) {
      bytes = PyBytes_AS_STRING(item.ptr());
      size = PyBytes_GET_SIZE(item.ptr());
    } else if (PyUnicode_Check(item.ptr())) {
      bytes = PyUnicode_AsUTF8AndSize(item.ptr(), &size);
      if (bytes == nullptr) throw nb::python_error();
    } else if (!item.is_none()) {
      throw nb::type_error(
          fmt::format("{}: bytes, str or None are wanted, not {}", name, nb::cast<std::string>(nb::str(item.type())))
              .c_str());
    }
    if (data.size() + static_cast<size_t>(size) > size_t{std::numeric_limits<int32_t>::max()}) {
      throw nb::value_error("more than 2 GiB in one list: hand over Arrow data, or less at a time");
    }
    data.append(bytes, static_cast<size_t>(size));
    ends.push_back(static_cast<int32_t>(data.size()));
  }
  const auto count = static_cast<int64_t>(ends.size());
  BatchBuilder builder;
  builder.AddBytes(name, std::move(data), ends, is_null);
  return {builder.Finish(count)};
}

Input Read(nb::handle source, const std::string& name) {
  Input input{.batches = {}, .name = name};
  const bool lists = name == "frames" || name == "messages";
  if (nb::hasattr(source, "__arrow_c_stream__")) {
    input.batches = ReadStream(source);
  } else if (nb::hasattr(source, "__arrow_c_array__")) {
    input.batches = ReadArray(source);
  } else if (lists && (PyBytes_Check(source.ptr()) || PyUnicode_Check(source.ptr()))) {
    throw nb::type_error((name + ": a list is wanted, not a single text").c_str());
  } else if (lists && nb::hasattr(source, "__iter__")) {
    input.batches = ReadSequence(source, name);
  } else {
    throw nb::type_error(
        (name + ": Arrow data is wanted (anything with __arrow_c_stream__ or __arrow_c_array__)").c_str());
  }
  return input;
}

// nanobind turns std::invalid_argument into ValueError.
template <typename Work>
auto WithoutGil(Work work) {
  const nb::gil_scoped_release release;
  return work();
}

nb::object Stream(const Table& table, nb::handle /*requested_schema*/) {
  auto stream = std::make_unique<ArrowArrayStream>();
  table.ShareStream(stream.get());
  return Capsule(std::move(stream), "arrow_array_stream");
}

nb::object Schema(const Table& table) {
  auto schema = std::make_unique<ArrowSchema>();
  table.ShareSchema(schema.get());
  return Capsule(std::move(schema), "arrow_schema");
}

std::string Show(const Table& table) {
  return fmt::format("<k2.native.Table of {} rows: {}>", table.rows(), fmt::join(table.column_names(), ", "));
}

const exchange::Exchange& ExchangeOf(const std::string& name) {
  for (const exchange::Exchange* exchange : exchange::Exchanges()) {
    if (name == exchange->name || name == exchange->message_name) return *exchange;
  }
  throw BadInput(fmt::format("exchange is '{}': {}", name, exchange::ExchangeNames()));
}

int64_t Microseconds(nb::handle number) {
  int overflow = 0;
  const long long value =
      PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);  // NOLINT(google-runtime-int): CPython's
  if (overflow != 0) throw BadInput("received: is beyond 64 bits of microseconds since 1970");
  if (value == -1 && PyErr_Occurred() != nullptr) throw nb::python_error();
  return value;
}

nb::tuple PyNormalise(const std::string& exchange, nb::object frames, nb::object received, bool dictionaries) {
  const exchange::Exchange& known = ExchangeOf(exchange);
  const Input input = Read(frames, "frames");
  Received times;
  if (nb::isinstance<nb::int_>(received)) {
    times.us = Microseconds(received);
  } else if (!received.is_none()) {
    times.column = Read(received, "received");
  }
  Normalised done = WithoutGil([&] { return Normalise(known, input, times, dictionaries); });
  return nb::make_tuple(std::move(done.trades), std::move(done.rejects), done.skipped);
}

Table PyEncode(nb::object trades, int32_t schema_id) {
  const Input input = Read(trades, "trades");
  return WithoutGil([&] { return Encode(input, schema_id); });
}

nb::tuple PyDecode(nb::object messages, const std::map<int32_t, std::string>& schemas,
                   const std::optional<std::string>& exchange, bool dictionaries) {
  const Input input = Read(messages, "messages");
  std::optional<std::string> known;
  if (exchange) known = ExchangeOf(*exchange).message_name;
  Decoded done = WithoutGil([&] { return Decode(input, schemas, known, dictionaries); });
  return nb::make_tuple(std::move(done.trades), std::move(done.rejects));
}

void MakeValidator(Validator* made, const std::map<std::string, std::pair<std::string, std::string>>& topics,
                   const Validator::SchemaSets& schemas, bool with_ids) {
  std::map<std::string, Validator::Topic> known;
  for (const auto& [name, topic] : topics) {
    known[name] = {.exchange = std::string(ExchangeOf(topic.first).message_name), .schemas = topic.second};
  }
  new (made) Validator(known, schemas, with_ids);
}

Table PyValidate(Validator& validator, nb::object messages) {
  const Input input = Read(messages, "messages");
  return WithoutGil([&] { return validator.Validate(input); });
}

std::optional<std::string> PySchemaName(nb::bytes value,
                                        const std::vector<std::pair<std::string, std::optional<nb::bytes>>>& headers) {
  std::vector<trade::MessageHeader> given;
  for (const auto& [key, bytes] : headers) {
    given.push_back({.key = key, .value = std::nullopt});
    if (bytes) given.back().value = std::string_view(bytes->c_str(), bytes->size());
  }
  const auto framing = trade::FramingOf(given, std::string_view(value.c_str(), value.size()));
  if (!framing) return std::nullopt;
  return ToString(framing->schema);
}

std::string PyInlineReferences(const std::string& schema, const std::vector<std::string>& references) {
  Result<std::string> whole = avro::InlineReferences(schema, references);
  if (!whole) throw BadInput(whole.error().message);
  return *std::move(whole);
}

std::string PyMessageId(const std::string& exchange, const std::string& symbol, const std::string& trade_id) {
  return trade::TradeMessageId(exchange, symbol, trade_id).ToString();
}

}  // namespace
}  // namespace k2::python

NB_MODULE(_k2_native, module) {
  using namespace k2::python;  // NOLINT(google-build-using-namespace): the module is all of it
  nb::class_<Table>(module, "Table")
      .def("__arrow_c_stream__", Stream, nb::arg("requested_schema") = nb::none())
      .def("__arrow_c_schema__", Schema)
      .def_prop_ro("num_rows", &Table::rows)
      .def_prop_ro("column_names", &Table::column_names)
      .def("__len__", &Table::rows)
      .def("__repr__", Show);
  module.def("normalise", PyNormalise, nb::arg("exchange"), nb::arg("frames"), nb::arg("received").none(),
             nb::arg("dictionaries"));
  module.def("encode", PyEncode, nb::arg("trades"), nb::arg("schema_id"));
  module.def("decode", PyDecode, nb::arg("messages"), nb::arg("schemas"), nb::arg("exchange").none(),
             nb::arg("dictionaries"));
  module.def("message_id", PyMessageId, nb::arg("exchange"), nb::arg("symbol"), nb::arg("trade_id"));
  nb::class_<Validator>(module, "Validator")
      .def("__init__", MakeValidator, nb::arg("topics"), nb::arg("schemas"), nb::kw_only(), nb::arg("with_ids") = false)
      .def("validate", PyValidate, nb::arg("messages"));
  module.def("schema_name", PySchemaName, nb::arg("value"), nb::arg("headers"));
  module.def("inline_references", PyInlineReferences, nb::arg("schema"), nb::arg("references"));
  module.attr("SCHEMA_HEADERS") =
      std::vector<std::string>(k2::trade::kSchemaHeaders.begin(), k2::trade::kSchemaHeaders.end());
  module.attr("TRADE_SCHEMA_JSON") = std::string(k2::trade::kTradeV3SchemaJson);
  module.attr("REJECTED_FRAME_SCHEMA_JSON") = std::string(k2::trade::kRejectedFrameSchemaJson);
  module.attr("TRADE_SCHEMA_ID") = k2::trade::kTradeV3SchemaId;
  module.attr("REJECTED_FRAME_SCHEMA_ID") = k2::trade::kRejectedFrameSchemaId;
  std::map<int32_t, std::string> own_schemas;
  for (const int32_t id : k2::trade::kOwnSchemaIds) own_schemas.emplace(id, *k2::trade::OwnSchema(id));
  module.attr("OWN_SCHEMAS") = own_schemas;
  AddRetention(module);
  module.attr("RULES_VERSION") = k2::trade::kRulesVersion;
}
