//! The tests of `kernel` with the source of bytes of older kernels, which every kernel has.

mod kernel;
