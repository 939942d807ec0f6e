#include "cli/commands.h"

int main(int argc, char** argv) { return k2::cli::Main(argc, argv); }
