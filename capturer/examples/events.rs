//! Prints what the kernel programs report: `cargo run -p capturer --example events` as root.
#![expect(clippy::print_stdout, reason = "its purpose")]

use capturer::kernel::{Kernel, KernelFilter, Record, STREAMS, Settings};
use capturer_ebpf::layout::direction;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut kernel = Kernel::attach(&Settings {
        ring_bytes: 4 << 20,
        streams: STREAMS,
        btf: None,
        source: None,
        filter: KernelFilter { packets: true, ..KernelFilter::default() },
    })?;
    println!("attached, source {}", kernel.source());
    loop {
        tokio::select! {
            readable = kernel.readable() => readable?,
            stop = tokio::signal::ctrl_c() => break stop?,
        }
        kernel.drain(&mut |record| println!("{}", line(&record)), 1024);
    }
    kernel.detach();
    while kernel.drain(&mut |record| println!("{}", line(&record)), 1024) > 0 {}
    println!("{:?}", kernel.totals());
    Ok(())
}

fn line(record: &Record<'_>) -> String {
    match record {
        Record::Moved { head, payload, .. } => {
            let connection = head.connection;
            format!(
                "{:#x} {} pid {} {} {:?}:{} {} {:?}:{} role {} moved {} at {} [{}, {}) flags {:#x} took {} ns: {}",
                connection.id,
                if connection.transport == 6 { "tcp" } else { "udp" },
                head.pid,
                String::from_utf8_lossy(&head.comm).trim_end_matches('\0'),
                &connection.local[..4],
                connection.local_port,
                if head.direction == direction::OUT { "->" } else { "<-" },
                &connection.remote[..4],
                connection.remote_port,
                connection.role,
                head.moved,
                head.counter,
                head.s0,
                head.s1,
                head.flags,
                head.exit_ns.saturating_sub(head.enter_ns),
                payload.iter().take(80).copied().collect::<Vec<u8>>().escape_ascii(),
            )
        }
        Record::Ended(ended) => format!(
            "{:#x} ended, unseen {} out, {} in",
            ended.connection.id, ended.unseen_out, ended.unseen_in
        ),
        Record::Attempt(attempt) => format!(
            "pid {} {} role {} {:?}:{} to {:?}:{} ended in phase {} with error {} after {} ns",
            attempt.pid,
            String::from_utf8_lossy(&attempt.comm).trim_end_matches('\0'),
            attempt.connection.role,
            &attempt.connection.local[..4],
            attempt.connection.local_port,
            &attempt.connection.remote[..4],
            attempt.connection.remote_port,
            attempt.phase,
            attempt.error,
            attempt.at_ns.saturating_sub(attempt.begun_ns),
        ),
        Record::Packet(packet) => format!("{packet:?}"),
        Record::Arrival(arrival) => format!("{arrival:?}"),
        Record::Retransmit(again) => format!("{again:?}"),
        Record::Connected(connected) => format!("{connected:?}"),
        Record::Cgroup { id, path, .. } => {
            format!("control group {id}: {}", path.from_inside().collect::<Vec<_>>().join(" < "))
        }
        Record::Exec(process) => format!("pid {} runs {}", process.pid, process.comm.escape_ascii()),
        Record::Exit(process) => format!("pid {} ended ({})", process.pid, process.comm.escape_ascii()),
    }
}
