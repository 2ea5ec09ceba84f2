//! Where this kernel lets bytes be seen.

use super::{Source, btf::Btf, error::KernelError};

/// Tracepoints at which sockets tell of every operation, since Linux 6.3.
const SOCKET_TRACEPOINTS: [&str; 2] = ["btf_trace_sock_send_length", "btf_trace_sock_recv_length"];

/// What gives a program the registers of the running call, since Linux 5.15.
const REGISTERS: &str = "BPF_FUNC_task_pt_regs";

/// Where a call is seen that appends to a stream, since Linux 6.16. Without it nobody knows which of several threads that
/// write to one socket wrote what, nor when a write began, which system calls tell.
const APPENDS: &str = "btf_trace_tcp_sendmsg_locked";

/// Returns the source to use: the one that is asked for, else the best.
pub(super) fn choose(types: &Btf, asked: Option<Source>) -> Result<Source, KernelError> {
    let there = has_sockets(types);
    match asked {
        Some(Source::Socket) if !there => Err(KernelError::NoSockets),
        Some(source) => Ok(source),
        None if there && types.has_name(APPENDS) => Ok(Source::Socket),
        None => Ok(Source::Syscall),
    }
}

/// Whether sockets tell of all that they move. Before Linux 6.5 files are sent by an operation of its own (`sendpage`), of
/// which nothing is told.
fn has_sockets(types: &Btf) -> bool {
    SOCKET_TRACEPOINTS.iter().all(|name| types.has_name(name))
        && types.enumerator("bpf_func_id", REGISTERS).is_ok()
        && types.offset("proto_ops", "sendpage").is_err()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::kernel::BTF_PATH;

    #[test]
    fn the_best_source_is_that_of_the_kernels_release() {
        if !Path::new(BTF_PATH).exists() {
            println!("skipped: this kernel has no type information");
            return;
        }
        let types = Btf::parse(fs::read(BTF_PATH).unwrap()).unwrap();
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = release.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        let number = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        let best = if number >= (6, 16) { Source::Socket } else { Source::Syscall };
        assert_eq!(choose(&types, None).unwrap(), best);
        assert_eq!(choose(&types, Some(Source::Syscall)).unwrap(), Source::Syscall);
        match choose(&types, Some(Source::Socket)) {
            Ok(source) => assert!(source == Source::Socket && number >= (6, 5)),
            Err(error) => {
                assert!(number < (6, 5) && matches!(error, KernelError::NoSockets), "{error}");
            }
        }
    }
}
