//! What the session wants, for every place that can drop the rest: kernel, decoders, and the finished exchange.

use std::net::IpAddr;
use std::sync::Arc;

use proto::filter::{Early, FilterError, Match, Network};
use proto::v1;

use crate::kernel::{KernelFilter, Net};

/// The session's wish, compiled.
#[derive(Debug)]
pub struct Wanted {
    matching: Match,
}

// === impl Wanted ===

impl Wanted {
    /// Compiles the hub's settings.
    pub fn new(settings: &v1::CapturerSettings) -> Result<Self, FilterError> {
        let matching = Match::try_from(&settings.filter.clone().unwrap_or_default())?;
        Ok(Self { matching })
    }

    /// Returns the compiled filter.
    #[must_use]
    pub fn matching(&self) -> &Match {
        &self.matching
    }

    /// Says whether an exchange goes to the hub.
    #[must_use]
    pub fn takes(&self, exchange: &v1::Exchange) -> bool {
        self.matching.passes(exchange)
    }
}

/// Returns the part of a filter that the kernel can test on every call.
#[must_use]
pub fn kernel_filter(matching: &Match) -> KernelFilter {
    let Early { pids, comms, local, remote } = matching.early();
    KernelFilter {
        pids,
        comms,
        local_ports: local.ports,
        remote_ports: remote.ports,
        local_nets: local.networks.into_iter().map(net).collect(),
        remote_nets: remote.networks.into_iter().map(net).collect(),
        cgroups: false,
        no_attempts: !matching.wants_protocol(decoders::Attempt::PROTOCOL),
        packets: false,
        sample: 0,
    }
}

/// Returns what the decoders are told.
#[must_use]
pub fn decoder_options(settings: &v1::CapturerSettings, matching: &Match) -> Arc<decoders::Options> {
    let redaction =
        settings.redaction.clone().unwrap_or(v1::Redaction { enabled: true, headers: Vec::new() });
    let all = decoders::registry();
    let mut protocols: Vec<String> = all
        .iter()
        .filter(|protocol| matching.wants_protocol(protocol.name))
        .map(|protocol| protocol.name.to_owned())
        .collect();
    if protocols.len() == all.len() {
        protocols.clear();
    }
    Arc::new(decoders::Options {
        payload_bytes: usize::try_from(settings.payload_bytes).unwrap_or(usize::MAX),
        redaction: decoders::Redaction { enabled: redaction.enabled, headers: redaction.headers },
        protocols,
    })
}

fn net(network: Network) -> Net {
    let mut address = [0; 16];
    let (family, octets): (u8, Vec<u8>) = match network.address() {
        IpAddr::V4(four) => (4, four.octets().to_vec()),
        IpAddr::V6(six) => (6, six.octets().to_vec()),
    };
    for (to, from) in address.iter_mut().zip(octets) {
        *to = from;
    }
    Net { address, family, prefix: network.prefix() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_gets_its_part() {
        let filter = v1::Filter {
            pids: vec![3],
            comms: vec!["a-name-of-18-bytes".to_owned()],
            local_ports: vec![80],
            remote_ips: vec!["10.0.0.0/8".to_owned(), "::1".to_owned()],
            statuses: vec!["404".to_owned()],
            ..v1::Filter::default()
        };
        let kernel = kernel_filter(&Match::try_from(&filter).unwrap());
        let nets: Vec<(u8, u8)> = kernel.remote_nets.iter().map(|net| (net.family, net.prefix)).collect();
        assert_eq!(nets, [(4, 8), (6, 128)]);
        let expected = KernelFilter {
            pids: vec![3],
            comms: vec!["a-name-of-18-bytes".to_owned()],
            local_ports: vec![80],
            remote_nets: kernel.remote_nets.clone(),
            ..KernelFilter::default()
        };
        assert_eq!(kernel, expected);
        assert_eq!(kernel_filter(&Match::default()), KernelFilter::default());
        let http = v1::Filter { protocols: vec!["http".to_owned()], ..v1::Filter::default() };
        let without = v1::Filter { without_protocols: vec!["tcp".to_owned()], ..v1::Filter::default() };
        for filter in [http, without] {
            assert!(kernel_filter(&Match::try_from(&filter).unwrap()).no_attempts, "nobody asks for them");
        }
    }

    #[test]
    fn decoders_are_told_which_protocols_can_pass() {
        let told = |filter: v1::Filter| {
            let matching = Match::try_from(&filter).unwrap();
            decoder_options(&v1::CapturerSettings::default(), &matching).protocols.clone()
        };
        assert_eq!(told(v1::Filter::default()), [] as [&str; 0], "all of them");
        let named = v1::Filter { protocols: vec!["dns".to_owned()], ..v1::Filter::default() };
        assert_eq!(told(named), ["dns"]);
        let field = v1::FieldTest {
            field: "path".to_owned(),
            values: vec!["/".to_owned()],
            protocols: vec!["http".to_owned()],
            ..v1::FieldTest::default()
        };
        assert_eq!(told(v1::Filter { fields: vec![field], ..v1::Filter::default() }), ["http"]);
    }

    #[test]
    fn what_a_library_tries_as_it_connects_is_no_error() {
        let filter = v1::Filter { errors: v1::Errors::WithoutHandshake.into(), ..v1::Filter::default() };
        let settings = v1::CapturerSettings { filter: Some(filter), ..v1::CapturerSettings::default() };
        let wanted = Wanted::new(&settings).unwrap();
        let error = v1::Exchange { error: true, ..v1::Exchange::default() };
        assert!(wanted.takes(&error) && !wanted.takes(&v1::Exchange::default()));
        assert!(!wanted.takes(&v1::Exchange { handshake: true, ..error }));
    }
}
