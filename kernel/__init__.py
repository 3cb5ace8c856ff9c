"""The shared kernel: Java sources and their build; see README.md."""
