#include "cli/commands.h"

int main(int argc, char** argv) { return k2::Main(argc, argv); }
