//! Where in the kernel the programs are.

use std::{collections::BTreeSet, fs};

use capturer::kernel::Source;

use super::{Capture, source};

/// The tracepoints at which this process has programs.
fn places() -> BTreeSet<String> {
    let files = fs::read_dir("/proc/self/fdinfo").unwrap();
    files
        .filter_map(|file| fs::read_to_string(file.ok()?.path()).ok())
        .filter_map(|text| {
            let name = text.lines().find_map(|line| line.strip_prefix("tp_name:"))?;
            Some(name.trim().to_owned())
        })
        .collect()
}

/// Any program at a system call slows down every call of every process.
#[test]
fn no_system_call_is_looked_at_where_sockets_tell() {
    let Some(capture) = Capture::start(0, 4 << 20) else { return };
    let places = places();
    capture.finish();
    let calls = ["sys_enter", "sys_exit"].map(|place| places.contains(place));
    let sockets = ["sock_send_length", "sock_recv_length"].map(|place| places.contains(place));
    let expected = source() == Source::Syscall;
    assert_eq!((calls, sockets), ([expected; 2], [!expected; 2]), "{places:?}");
}
