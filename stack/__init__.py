"""The services that K2 runs on, as plain processes on this machine: see docs/stack.md."""
