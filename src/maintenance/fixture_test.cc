// The layers' fixture (pipeline/layer_fixture.h), for this program too.
#include "pipeline/layer_fixture_test.cc"  // NOLINT(bugprone-suspicious-include)
