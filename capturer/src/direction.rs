//! The two directions of a connection, seen from the process that makes the calls.

use capturer_ebpf::layout::direction;

/// Index of what is kept of the sending direction.
pub const OUT: usize = direction::OUT as usize;

/// Index of what is kept of the receiving direction.
pub const IN: usize = direction::IN as usize;
