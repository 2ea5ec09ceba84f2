//! Which traffic: flags into the filter that hub and capturer evaluate.

use clap::{ArgMatches, Args};
use decoders::Attempt;
use proto::filter::Match;
use proto::v1;

use super::values;
use crate::failure::Failure;
use crate::protocols;

/// Tests on any protocol's traffic.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Traffic")]
pub(crate) struct FilterArgs {
    /// Process ids
    #[arg(short, long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) pids: Vec<u32>,
    /// Command names
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) comm: Vec<String>,
    /// Local ports
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) local_ports: Vec<u32>,
    /// Remote ports
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) remote_ports: Vec<u32>,
    /// Local addresses or networks, IPv4 or IPv6
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) local_ips: Vec<String>,
    /// Remote addresses or networks, IPv4 or IPv6
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) remote_ips: Vec<String>,
    /// Side of the connection that the process is
    #[arg(long, value_name = "SIDE", value_parser = values::side(), default_value = "all")]
    pub(crate) side: v1::Side,
    /// Container ids, at least 12 digits of each
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) container_id: Vec<String>,
    /// Container names; in a cluster as `--container`
    #[arg(long, value_name = "LIST", value_delimiter = ',', hide = true)]
    pub(crate) container_name: Vec<String>,
    /// Pods of a cluster: NAME, NAMESPACE/NAME or NAME.NAMESPACE
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) pod_name: Vec<String>,
    /// Took at least this many milliseconds
    #[arg(long, value_name = "MS", value_parser = values::milliseconds)]
    pub(crate) latency: Option<u64>,
    /// Request has at least this many bytes
    #[arg(long, value_name = "BYTES", value_parser = values::bytes)]
    pub(crate) req_size: Option<u64>,
    /// Response has at least this many bytes
    #[arg(long, value_name = "BYTES", value_parser = values::bytes)]
    pub(crate) resp_size: Option<u64>,
    /// Statuses such as 404, 5xx or ERR
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) status: Vec<String>,
    /// Leave out connections that are refused, not answered, or reset before a byte (protocol tcp)
    #[arg(long)]
    pub(crate) no_connects: bool,
    /// Only errors; `--errors=all` also what client libraries try in vain as they connect
    #[arg(
        long,
        value_name = "WHICH",
        num_args = 0..=1,
        require_equals = true,
        value_parser = values::errors(),
        default_value = "false",
        default_missing_value = "true",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub(crate) errors: v1::Errors,
}

/// Builds the filter of a command from its flags and its matches' protocol flags.
pub(crate) fn build(
    args: &FilterArgs,
    place: &super::PlaceArgs,
    protocol: Option<&str>,
    matches: &ArgMatches,
) -> Result<v1::Filter, Failure> {
    if place.local && !(args.container_name.is_empty() && args.pod_name.is_empty()) {
        let flag = if args.pod_name.is_empty() { "--container-name" } else { "--pod-name" };
        return Err(Failure::usage(format!(
            "`{flag}` cannot be used with `--local`: names of pods and containers are not known here"
        ))
        .hint("use `--container-id` with the id that the container runtime prints, or `--pids`"));
    }
    let without = args.no_connects.then_some(Attempt::PROTOCOL);
    if without.is_some() && without == protocol {
        return Err(Failure::usage(format!(
            "`--no-connects` leaves out all that is asked for: {}",
            Attempt::PROTOCOL
        ))
        .hint("leave one of the two out"));
    }
    let filter = v1::Filter {
        protocols: protocol.map(ToOwned::to_owned).into_iter().collect(),
        pids: args.pids.clone(),
        comms: args.comm.clone(),
        local_ports: args.local_ports.clone(),
        remote_ports: args.remote_ports.clone(),
        local_ips: args.local_ips.clone(),
        remote_ips: args.remote_ips.clone(),
        side: args.side.into(),
        container_ids: args.container_id.clone(),
        min_total_ns: args.latency.unwrap_or_default(),
        min_request_bytes: args.req_size.unwrap_or_default(),
        min_response_bytes: args.resp_size.unwrap_or_default(),
        statuses: args.status.clone(),
        errors: args.errors.into(),
        fields: protocols::tests(protocol, matches)?,
        without_protocols: without.map(ToOwned::to_owned).into_iter().collect(),
        ..v1::Filter::default()
    };
    match Match::try_from(&filter) {
        Ok(_compiled) => super::status::check(&filter).map(|()| filter),
        Err(error) => Err(Failure::usage(error.to_string()).hint("see `kubectl kyanos watch --help`")),
    }
}

/// Says which accepted but unused flags of the original were given.
pub(crate) fn unused(capture: &super::CaptureArgs) -> Vec<&'static str> {
    [
        ("--docker-address", capture.docker_address.is_some()),
        ("--containerd-address", capture.containerd_address.is_some()),
        ("--cri-runtime-address", capture.cri_runtime_address.is_some()),
        ("--max-records", capture.max_records.is_some()),
    ]
    .into_iter()
    .filter_map(|(flag, given)| given.then_some(flag))
    .collect()
}
