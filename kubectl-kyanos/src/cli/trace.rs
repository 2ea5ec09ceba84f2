//! What of the kernel is traced, beside the calls that move bytes.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args};
use proto::v1;

/// Values of `--source`.
const SOURCES: [(&str, v1::ByteSource); 3] = [
    ("auto", v1::ByteSource::Unspecified),
    ("socket", v1::ByteSource::Socket),
    ("syscall", v1::ByteSource::Syscall),
];

/// What of the kernel is traced.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Capture")]
pub(crate) struct TraceArgs {
    /// Follow packets over network interfaces, by which the network's time is known [default: where it is shown or
    /// stored]
    #[arg(
        long,
        value_name = "BOOL",
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true,
        conflicts_with = "session"
    )]
    pub(crate) trace_dev_event: Option<bool>,
    /// Note arrivals in sockets and copies to processes as hops too
    #[arg(long, conflicts_with = "session")]
    pub(crate) trace_socket_event: bool,
    /// Where the kernel is asked for bytes: at its sockets (Linux 6.5), at system calls, or where it is best
    #[arg(long, value_name = "SOURCE", value_parser = source(), default_value = "auto", conflicts_with = "session")]
    pub(crate) source: v1::ByteSource,
}

// === impl TraceArgs ===

impl TraceArgs {
    /// What capturers are told; `packets` says whether what is shown or stored needs them.
    pub(crate) fn tracing(self, packets: bool) -> v1::Tracing {
        let Self { trace_dev_event, trace_socket_event, source } = self;
        v1::Tracing {
            without_packets: !trace_dev_event.unwrap_or(packets),
            socket_hops: trace_socket_event,
            source: source.into(),
        }
    }
}

/// Parses where bytes are seen.
fn source() -> impl TypedValueParser<Value = v1::ByteSource> {
    PossibleValuesParser::new(SOURCES.map(|(name, _)| name)).map(|given| {
        let known = SOURCES.iter().find(|(name, _)| *name == given);
        known.map_or(v1::ByteSource::Unspecified, |(_, source)| *source)
    })
}
