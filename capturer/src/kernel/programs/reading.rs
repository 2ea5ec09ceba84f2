//! How programs read the memory of this kernel; needs root.

use super::*;
use crate::kernel::{Types, read_types};

#[test]
fn packets_are_read_by_their_types_where_programs_may_not_read_by_themselves() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let filter = KernelFilter { packets: true, ..KernelFilter::default() };
    let Types { source, offsets, direct } = read_types(Path::new(BTF_PATH), None, false).unwrap();
    for (direct, typed) in [(None, true), (direct, direct.is_none())] {
        let (mut programs, _) = Programs::load(&offsets, source, &filter, [64 << 10, 64], direct).unwrap();
        let has = |name: &str| programs.hooks.iter().any(|hook| hook.is_of(name));
        let expected = [typed, !typed, typed, !typed];
        assert_eq!(
            ["transmitted", "net_dev_start_xmit", "received", "netif_receive_skb"].map(has),
            expected,
            "{direct:?}"
        );
        programs.attach().unwrap();
    }
}
