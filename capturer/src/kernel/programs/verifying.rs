//! What verifying programs takes of a start; needs root.

use super::*;
use crate::kernel::{Types, read_types};

/// Instructions through which a verifier may walk for all programs of a source: a million of them take a second.
const MOST_INSTRUCTIONS: u64 = 250_000;

#[test]
fn a_start_waits_little_for_verifiers() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let filter = KernelFilter { packets: true, cgroups: true, ..KernelFilter::default() };
    for source in [Source::Socket, Source::Syscall] {
        if !source.is_there().unwrap() {
            println!("{source:?} is not there");
            continue;
        }
        let Types { source, offsets, direct } = read_types(Path::new(BTF_PATH), Some(source), false).unwrap();
        let (programs, _) = Programs::load(&offsets, source, &filter, [64 << 10, 64], direct).unwrap();
        let counts: Vec<(&str, u64)> = programs
            .ebpf
            .programs()
            .filter_map(|(name, program)| {
                let verified = program.info().ok()?.verified_instruction_count()?;
                Some((name, u64::from(verified)))
            })
            .collect();
        if counts.is_empty() {
            println!("skipped: this kernel does not count");
            return;
        }
        let sum: u64 = counts.iter().map(|(_, verified)| verified).sum();
        println!("{source:?}: {sum}, {counts:?}");
        assert!(sum <= MOST_INSTRUCTIONS, "{source:?}: {sum}: {counts:?}");
    }
}
