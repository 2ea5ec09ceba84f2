//! What the developer commands and the workspace's end-to-end tests share.
//!
//! One module per command, and beside them the real servers and the unpacked Debian packages that commands and tests
//! work with.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "these commands talk to a developer's terminal"
)]

pub mod bench;
pub mod cluster;
pub mod debian;
pub mod demo;
pub mod e2e;
pub mod image;
pub mod kernels;
pub mod kubernetes_api;
pub mod kyanos;
pub mod lint_programs;
pub mod package;
pub mod process;
pub mod replay;
pub mod run;
pub mod servers;
pub mod setup;
pub mod suite;
pub mod topology;
pub mod workload;
pub mod workspace;
