"""The unroll of STAIRS' two blocks as compiled code: C++ source, its build, and its call."""
