// Single values: their binary form (format/spec.md, Appendix D), their order, their text in paths and JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "iceberg/data_file.h"
#include "iceberg/schema.h"

namespace k2::iceberg {

inline bool IsNull(const Literal& literal) { return std::holds_alternative<std::monostate>(literal); }
bool IsNan(const Literal& literal);

// Is the literal null, or of the alternative that values of this primitive type have?
bool Fits(const Literal& literal, const Type& type);

// The literal as a value of the type where that loses nothing: an int where a long is asked, a float where a double is,
// an int64 that is small enough where an int is. nullopt where there is no such value.
std::optional<Literal> Coerce(const Literal& literal, const Type& type);

// -1, 0, 1. Null comes first, NaN last, -0.0 equals 0.0; strings and bytes compare unsigned. Ints and longs, floats and
// doubles compare with each other, since a column's type may have been promoted after one of them was written. Other
// kinds that differ compare by kind: the caller sees to it that both are values of one column.
int CompareLiterals(const Literal& left, const Literal& right);
// May CompareLiterals say something about these two?
bool Comparable(const Literal& left, const Literal& right);

// Binary single-value form. Error kInvalidArgument: null, or not a value of this type.
Result<std::string> ToBytes(const Literal& literal, const Type& type);
// Reads it as the column's present type, whatever it was promoted from: 4 bytes as a long or a double, decimals of any
// width. Error kInvalidData.
Result<Literal> FromBytes(std::string_view bytes, const Type& type);

// Two's complement, big-endian, of as few bytes as hold the value.
std::string MinimalBigEndian(Int128 value);
// The same in exactly `size` bytes, as Avro's and Parquet's fixed decimals; nullopt when the value does not fit.
std::optional<std::string> FixedBigEndian(Int128 value, size_t size);
// 1 to 16 bytes, or more when they only extend the sign.
std::optional<Int128> BigEndianInt128(std::string_view bytes);
// How many bytes a decimal of this precision takes as Avro's fixed (spec, Appendix A).
size_t DecimalRequiredBytes(int32_t precision);

std::string DecimalToString(Int128 unscaled, int32_t scale);

// Text for people and partition paths, as the Java library's identity transform writes it; "null" for null.
std::string ToHumanText(const Literal& literal, const Type& type);

// JSON single-value form (Appendix D). Null is JSON's null. Errors: kInvalidArgument, kInvalidData.
Result<nlohmann::json> LiteralToJson(const Literal& literal, const Type& type);
Result<Literal> LiteralFromJson(const nlohmann::json& json, const Type& type);

}  // namespace k2::iceberg
