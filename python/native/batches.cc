#include "batches.h"

#include <cerrno>
#include <cstring>

namespace k2::python {
namespace {

// A struct of an array that was handed out: its buffers are the batch's.
struct SharedArray {
  SharedBatch owner;
  std::vector<std::unique_ptr<ArrowArray>> nodes;
  std::vector<ArrowArray*> children;
};

struct OwnedSchema {
  std::string format;
  std::string name;
  std::string metadata;
  std::vector<std::unique_ptr<ArrowSchema>> nodes;
  std::vector<ArrowSchema*> children;
};

// A child that its receiver has moved away has no release of its own any more.
template <typename Owner, typename T>
void Release(T* node) {
  auto* owner = static_cast<Owner*>(node->private_data);
  for (const auto& child : owner->nodes) {
    if (child->release != nullptr) child->release(child.get());
  }
  delete owner;
  node->release = nullptr;
}

void ShareArray(const ArrowArray& source, const SharedBatch& batch, ArrowArray* out) {
  auto owner = std::make_unique<SharedArray>();
  owner->owner = batch;
  *out = source;
  for (int64_t i = 0; i < source.n_children; ++i) {
    owner->nodes.push_back(std::make_unique<ArrowArray>());
    ShareArray(*source.children[i], batch, owner->nodes.back().get());
    owner->children.push_back(owner->nodes.back().get());
  }
  out->children = owner->children.data();
  if (source.dictionary != nullptr) {
    owner->nodes.push_back(std::make_unique<ArrowArray>());
    out->dictionary = owner->nodes.back().get();
    ShareArray(*source.dictionary, batch, out->dictionary);
  }
  out->release = Release<SharedArray, ArrowArray>;
  out->private_data = owner.release();
}

void CopySchema(const ArrowSchema& source, ArrowSchema* out) {
  auto owner = std::make_unique<OwnedSchema>();
  owner->format = source.format;
  owner->name = source.name == nullptr ? "" : source.name;
  *out = source;
  out->format = owner->format.c_str();
  out->name = owner->name.c_str();
  out->metadata = nullptr;
  for (int64_t i = 0; i < source.n_children; ++i) {
    owner->nodes.push_back(std::make_unique<ArrowSchema>());
    CopySchema(*source.children[i], owner->nodes.back().get());
    owner->children.push_back(owner->nodes.back().get());
  }
  out->children = owner->children.data();
  if (source.dictionary != nullptr) {
    owner->nodes.push_back(std::make_unique<ArrowSchema>());
    out->dictionary = owner->nodes.back().get();
    CopySchema(*source.dictionary, out->dictionary);
  }
  out->release = Release<OwnedSchema, ArrowSchema>;
  out->private_data = owner.release();
}

struct Stream {
  std::vector<SharedBatch> batches;
  size_t next = 0;
};

}  // namespace

Batch::~Batch() {
  if (array.release != nullptr) array.release(&array);
  if (schema.release != nullptr) schema.release(&schema);
}

int64_t Table::rows() const {
  int64_t rows = 0;
  for (const SharedBatch& batch : batches_) rows += batch->array.length;
  return rows;
}

std::vector<std::string> Table::column_names() const {
  std::vector<std::string> names;
  const ArrowSchema& schema = batches_.front()->schema;
  for (int64_t i = 0; i < schema.n_children; ++i) names.emplace_back(schema.children[i]->name);
  return names;
}

void Table::ShareSchema(ArrowSchema* out) const { CopySchema(batches_.front()->schema, out); }

void Table::ShareStream(ArrowArrayStream* out) const {
  out->get_schema = [](ArrowArrayStream* self, ArrowSchema* schema) {
    CopySchema(static_cast<Stream*>(self->private_data)->batches.front()->schema, schema);
    return 0;
  };
  out->get_next = [](ArrowArrayStream* self, ArrowArray* array) {
    auto* stream = static_cast<Stream*>(self->private_data);
    if (stream->next == stream->batches.size()) {
      *array = {};  // the end
      return 0;
    }
    const SharedBatch& batch = stream->batches[stream->next++];
    ShareArray(batch->array, batch, array);
    return 0;
  };
  out->get_last_error = [](ArrowArrayStream*) -> const char* { return nullptr; };
  out->release = [](ArrowArrayStream* self) {
    delete static_cast<Stream*>(self->private_data);
    self->release = nullptr;
  };
  out->private_data = new Stream{.batches = batches_};
}

// Buffers are vectors of words, so that they are aligned for every type.
struct BatchBuilder::Column {
  std::string name;
  std::string format;
  bool nullable = false;
  int64_t nulls = 0;
  std::vector<uint8_t> validity;
  std::vector<int64_t> longs;
  std::vector<int32_t> ints;  // values, or offsets
  std::string data;
  SharedBatch members;  // of a struct
  std::vector<const void*> buffers;

  void SetNulls(const std::vector<bool>& is_null);
};

namespace {

// Everything that a built batch stands on.
template <typename Column>
struct Built {
  std::vector<std::shared_ptr<Column>> columns;
  std::vector<ArrowArray> arrays;
  std::vector<ArrowArray*> array_pointers;
  std::vector<ArrowSchema> schemas;
  std::vector<ArrowSchema*> schema_pointers;
  const void* no_validity = nullptr;
};

template <typename Holder, typename T>
void ReleaseHolder(T* root) {
  delete static_cast<std::shared_ptr<Holder>*>(root->private_data);
  root->release = nullptr;
}

}  // namespace

void BatchBuilder::Column::SetNulls(const std::vector<bool>& is_null) {
  validity.resize(is_null.size() / 8 + 1);
  for (size_t i = 0; i < is_null.size(); ++i) {
    if (is_null[i]) {
      ++nulls;
    } else {
      validity[i / 8] = static_cast<uint8_t>(validity[i / 8] | 1U << (i % 8));
    }
  }
}

void BatchBuilder::AddLongs(std::string name, std::vector<int64_t> values) {
  auto column = std::make_shared<Column>();
  column->name = std::move(name);
  column->format = "l";
  column->longs = std::move(values);
  column->buffers = {nullptr, column->longs.data()};
  columns_.push_back(std::move(column));
}

void BatchBuilder::AddInts(std::string name, const std::vector<std::optional<int32_t>>& values) {
  auto column = std::make_shared<Column>();
  column->name = std::move(name);
  column->format = "i";
  column->nullable = true;
  column->validity.resize(values.size() / 8 + 1);
  column->ints.reserve(values.size() + 1);
  for (size_t i = 0; i < values.size(); ++i) {
    column->ints.push_back(values[i].value_or(0));
    if (values[i]) {
      column->validity[i / 8] = static_cast<uint8_t>(column->validity[i / 8] | 1U << (i % 8));
    } else {
      ++column->nulls;
    }
  }
  column->buffers = {column->nulls > 0 ? column->validity.data() : nullptr, column->ints.data()};
  columns_.push_back(std::move(column));
}

void BatchBuilder::AddTexts(std::string name, std::string data, const std::vector<int32_t>& ends) {
  AddVariable(std::move(name), "u", std::move(data), ends, {});
}

void BatchBuilder::AddBytes(std::string name, std::string data, const std::vector<int32_t>& ends,
                            const std::vector<bool>& is_null) {
  AddVariable(std::move(name), "z", std::move(data), ends, is_null);
}

void BatchBuilder::AddVariable(std::string name, const char* format, std::string data, const std::vector<int32_t>& ends,
                               const std::vector<bool>& is_null) {
  auto column = std::make_shared<Column>();
  column->name = std::move(name);
  column->format = format;
  column->data = std::move(data);
  column->ints.reserve(ends.size() + 1);
  column->ints.push_back(0);
  column->ints.insert(column->ints.end(), ends.begin(), ends.end());
  column->nullable = !is_null.empty();
  column->SetNulls(is_null);
  column->buffers = {column->nulls > 0 ? column->validity.data() : nullptr, column->ints.data(), column->data.data()};
  columns_.push_back(std::move(column));
}

void BatchBuilder::AddNullable(std::string name, const char* format, std::string data, const std::vector<int32_t>& ends,
                               const std::vector<bool>& is_null) {
  AddVariable(std::move(name), format, std::move(data), ends, is_null);
  columns_.back()->nullable = true;  // without rows, too
}

void BatchBuilder::AddStruct(std::string name, SharedBatch members, const std::vector<bool>& is_null) {
  auto column = std::make_shared<Column>();
  column->name = std::move(name);
  column->format = "+s";
  column->nullable = true;
  column->members = std::move(members);
  column->SetNulls(is_null);
  column->buffers = {column->nulls > 0 ? column->validity.data() : nullptr};
  columns_.push_back(std::move(column));
}

SharedBatch BatchBuilder::Finish(int64_t rows) {
  using Holder = Built<Column>;
  auto holder = std::make_shared<Holder>();
  holder->columns = std::move(columns_);
  const size_t count = holder->columns.size();
  holder->arrays.resize(count);
  holder->schemas.resize(count);
  for (size_t i = 0; i < count; ++i) {
    Column& column = *holder->columns[i];
    holder->arrays[i] = {.length = rows,
                         .null_count = column.nulls,
                         .n_buffers = static_cast<int64_t>(column.buffers.size()),
                         .buffers = column.buffers.data(),
                         .release = [](ArrowArray* array) { array->release = nullptr; }};
    holder->schemas[i] = {.format = column.format.c_str(),
                          .name = column.name.c_str(),
                          .flags = column.nullable ? ARROW_FLAG_NULLABLE : 0,
                          .release = [](ArrowSchema* schema) { schema->release = nullptr; }};
    if (column.members != nullptr) {
      holder->arrays[i].n_children = column.members->array.n_children;
      holder->arrays[i].children = column.members->array.children;
      holder->schemas[i].n_children = column.members->schema.n_children;
      holder->schemas[i].children = column.members->schema.children;
    }
    holder->array_pointers.push_back(&holder->arrays[i]);
    holder->schema_pointers.push_back(&holder->schemas[i]);
  }
  auto batch = std::make_shared<Batch>();
  batch->array = {.length = rows,
                  .n_buffers = 1,
                  .n_children = static_cast<int64_t>(count),
                  .buffers = &holder->no_validity,
                  .children = holder->array_pointers.data(),
                  .release = ReleaseHolder<Holder, ArrowArray>,
                  .private_data = new std::shared_ptr<Holder>(holder)};
  batch->schema = {.format = "+s",
                   .name = "",
                   .n_children = static_cast<int64_t>(count),
                   .children = holder->schema_pointers.data(),
                   .release = ReleaseHolder<Holder, ArrowSchema>,
                   .private_data = new std::shared_ptr<Holder>(holder)};
  return batch;
}

}  // namespace k2::python
