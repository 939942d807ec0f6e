// The layers' fixture (medallion/layer_fixture.h), for this program too.
#include "medallion/layer_fixture_test.cc"  // NOLINT(bugprone-suspicious-include)
