#include "base/guard.h"

#include <gtest/gtest.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <variant>

namespace k2 {
namespace {

TEST(Guard, ExceptionsBecomeInternalErrorsWithTheirPlace) {
  const auto of = [](const auto& thrower) {
    const Status status = Guarded("the layer gold", [&]() -> Status {
      thrower();
      return {};
    });
    EXPECT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::kInternal);
    EXPECT_EQ(ExitCode(status.error().kind), 5);
    EXPECT_TRUE(status.error().message.starts_with("internal error in the layer gold: ")) << status.error().message;
    return status.error().message;
  };
  EXPECT_NE(of([] { (void)std::get<int>(std::variant<long, int>(1L)); }).find("std::bad_variant_access"),
            std::string::npos);
  EXPECT_NE(of([] { throw std::out_of_range("beyond"); }).find("beyond (std::out_of_range)"), std::string::npos);
  EXPECT_NE(of([] { throw 7; }).find("int"), std::string::npos);
}

TEST(Guard, ResultsPassThrough) {
  EXPECT_EQ(Guarded("x", []() -> Result<int> { return 3; }).value(), 3);
  const auto failed = Guarded("x", []() -> Result<int> { return Fail(ErrorKind::kIo, "gone"); });
  EXPECT_EQ(failed.error().message, "gone");
  GuardedOrLogged("x", [] { throw std::runtime_error("logged"); });
}

TEST(GuardDeathTest, TerminationIsTold) {
  EXPECT_EXIT(
      {
        TellTermination();
        []() noexcept { (void)std::string("escaped").at(100); }();
      },
      testing::ExitedWithCode(5), "k2: internal error: .*std::out_of_range");
}

}  // namespace
}  // namespace k2
