// Silver's validation of messages of several topics: of each one, in order, its trade, or the reason why it is none.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "batches.h"
#include "kernel.h"
#include "trade/decoder.h"

namespace k2::python {

class Validator {
 public:
  struct Topic {
    std::string exchange;  // as messages name it
    std::string schemas;   // the set of schemas that its messages' ids are of
  };
  // Schemas by their names in messages ("id 7", "GUID ..."): those of each set.
  using SchemaSets = std::map<std::string, std::map<std::string, std::string>>;

  // A text that is no schema is known all the same: its messages are rejected with the reason. `with_ids`: of a
  // rejected message that can be decoded the message_id, too. BadInput: a name that no message gives a schema; a topic
  // of a set that there is none of.
  Validator(const std::map<std::string, Topic>& topics, const SchemaSets& schemas, bool with_ids);

  // `messages`: columns topic, avro_payload and, as they may have none, headers. Gives a row for each: trade (the
  // columns of Silver; null where it is rejected), reason, detail, schema_id, payload (of rejected ones), message_id
  // (the same). Safe to use from several threads, which wait for each other.
  Table Validate(const Input& messages);

 private:
  struct Decoders {
    trade::MessageDecoder validating{trade::MessageDecoder::Mode::kValidate};
    trade::MessageDecoder reading{trade::MessageDecoder::Mode::kDecodeOnly};
  };
  struct Source {
    std::string exchange;
    Decoders* decoders = nullptr;
  };
  class Results;

  std::mutex mutex_;
  bool with_ids_;
  std::map<std::string, Decoders> decoders_;
  std::map<std::string, Source, std::less<>> sources_;
};

}  // namespace k2::python
