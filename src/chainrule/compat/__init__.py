"""Other libraries' interfaces on chainrule, so that programs written for them run without changes."""
