//! Truth tables of every test, and laws over random exchanges.

use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::v1::{Comparison, Errors, Exchange, FieldTest, Filter, Side};

fn endpoint(address: &str, port: u32) -> v1::Endpoint {
    let address = match address.parse().unwrap() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    v1::Endpoint { address, port, ..Default::default() }
}

fn attribute(name: &str, value: &str) -> v1::Attribute {
    v1::Attribute { name: name.to_owned(), value: value.to_owned() }
}

fn exchange() -> Exchange {
    Exchange {
        protocol: "http".to_owned(),
        side: Side::Client.into(),
        origin: Some(v1::Origin {
            pid: 42,
            comm: "curl".to_owned(),
            container_id: "0123456789abcdef".repeat(4),
            ..Default::default()
        }),
        local: Some(endpoint("10.1.2.3", 40_000)),
        remote: Some(endpoint("fd00::5", 443)),
        status: "404".to_owned(),
        error: true,
        request: Some(v1::Message { bytes: 100, ..Default::default() }),
        response: Some(v1::Message { bytes: 2000, ..Default::default() }),
        segments: Some(v1::Segments { total_ns: 5_000_000, ..Default::default() }),
        attributes: vec![attribute("method", "GET"), attribute("path", "/orders/7"), attribute("key", "b")],
        ..Default::default()
    }
}

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn field(name: &str, comparison: Comparison, values: &[&str], protocols: &[&str]) -> Filter {
    Filter {
        fields: vec![FieldTest {
            field: name.to_owned(),
            comparison: comparison.into(),
            values: strings(values),
            protocols: strings(protocols),
        }],
        ..Default::default()
    }
}

fn passes(filter: &Filter) -> bool {
    Match::try_from(filter).unwrap().passes(&exchange())
}

#[test]
fn truth_table() {
    let with = Filter::default;
    let table: Vec<(bool, Filter)> = vec![
        (true, with()),
        (true, Filter { protocols: strings(&["redis", "http"]), ..with() }),
        (false, Filter { protocols: strings(&["redis"]), ..with() }),
        (true, Filter { without_protocols: strings(&["tcp", "redis"]), ..with() }),
        (false, Filter { without_protocols: strings(&["tcp", "http"]), ..with() }),
        (false, Filter { protocols: strings(&["http"]), without_protocols: strings(&["http"]), ..with() }),
        (true, Filter { pids: vec![1, 42], ..with() }),
        (false, Filter { pids: vec![4], ..with() }),
        (true, Filter { comms: strings(&["curl"]), ..with() }),
        (false, Filter { comms: strings(&["cur"]), ..with() }),
        (true, Filter { local_ports: vec![40_000], ..with() }),
        (false, Filter { local_ports: vec![443], ..with() }),
        (true, Filter { remote_ports: vec![80, 443], ..with() }),
        (false, Filter { remote_ports: vec![40_000], ..with() }),
        (true, Filter { local_ips: strings(&["10.0.0.0/8"]), ..with() }),
        (true, Filter { local_ips: strings(&["10.1.2.3"]), ..with() }),
        (true, Filter { local_ips: strings(&["::ffff:10.1.2.3"]), ..with() }),
        (true, Filter { local_ips: strings(&["::ffff:10.0.0.0/104"]), ..with() }),
        (true, Filter { local_ips: strings(&["0.0.0.0/0"]), ..with() }),
        (false, Filter { local_ips: strings(&["::/0"]), ..with() }),
        (false, Filter { local_ips: strings(&["10.1.2.2/32", "10.2.0.0/16"]), ..with() }),
        (true, Filter { remote_ips: strings(&["1.2.3.4", "fd00::/8"]), ..with() }),
        (true, Filter { remote_ips: strings(&["fd00::5"]), ..with() }),
        (false, Filter { remote_ips: strings(&["fd00::4"]), ..with() }),
        (false, Filter { remote_ips: strings(&["0.0.0.0/0"]), ..with() }),
        (true, Filter { side: Side::Client.into(), ..with() }),
        (false, Filter { side: Side::Server.into(), ..with() }),
        (true, Filter { container_ids: strings(&["0123456789AB"]), ..with() }),
        (false, Filter { container_ids: strings(&["1123456789ab"]), ..with() }),
        (true, Filter { min_total_ns: 5_000_000, ..with() }),
        (false, Filter { min_total_ns: 5_000_001, ..with() }),
        (true, Filter { min_request_bytes: 100, ..with() }),
        (false, Filter { min_request_bytes: 101, ..with() }),
        (true, Filter { min_response_bytes: 2000, ..with() }),
        (false, Filter { min_response_bytes: 2001, ..with() }),
        (true, Filter { statuses: strings(&["200", "404"]), ..with() }),
        (true, Filter { statuses: strings(&["4xx"]), ..with() }),
        (false, Filter { statuses: strings(&["5XX", "40"]), ..with() }),
        (true, Filter { errors: Errors::WithoutHandshake.into(), ..with() }),
        (true, Filter { errors: Errors::All.into(), ..with() }),
        (true, field("method", Comparison::Exact, &["POST", "GET"], &["http"])),
        (false, field("method", Comparison::Exact, &["get"], &["http"])),
        (true, field("method", Comparison::Caseless, &["get"], &["http"])),
        (true, field("path", Comparison::Prefix, &["/orders/"], &[])),
        (false, field("path", Comparison::Prefix, &["orders/"], &[])),
        (true, field("path", Comparison::Regex, &["^/orders/[0-9]+$"], &["http"])),
        (false, field("path", Comparison::Regex, &["^/orders/[a-z]+$"], &["http"])),
        (true, field("path", Comparison::Regex, &["rders"], &["http"])),
        (false, field("path", Comparison::Prefix, &["/orders/"], &["redis"])),
        (false, field("host", Comparison::Prefix, &[""], &["http"])),
        (true, field("host", Comparison::Exact, &[], &["redis"])),
    ];
    for (expected, filter) in table {
        assert_eq!(passes(&filter), expected, "{filter:?}");
    }
}

#[test]
fn every_field_of_the_filter_is_a_test() {
    let words = |word: &str| vec![word.to_owned()];
    let full = Filter {
        protocols: words("http"),
        pids: vec![1],
        comms: words("a"),
        local_ports: vec![1],
        remote_ports: vec![1],
        local_ips: words("::1"),
        remote_ips: words("::1"),
        side: Side::Client.into(),
        container_ids: words("0123456789ab"),
        min_total_ns: 1,
        min_request_bytes: 1,
        min_response_bytes: 1,
        statuses: words("OK"),
        errors: Errors::All.into(),
        fields: field("path", Comparison::Exact, &["/"], &[]).fields,
        namespaces: words("a"),
        pods: words("a"),
        containers: words("a"),
        workloads: words("Job/a"),
        nodes: words("a"),
        // Whoever knows labels evaluates it.
        selector: String::new(),
        without_protocols: words(""),
    };
    // Each field goes over the wire on its own: what follows its tag is that field.
    let mut rest = full.encode_to_vec();
    let mut alone = Vec::new();
    while !rest.is_empty() {
        let first = (1..=rest.len()).find(|len| Filter::decode(&rest[..*len]).is_ok()).unwrap();
        let tail = rest.split_off(first);
        alone.push(Filter::decode(rest.as_slice()).unwrap());
        rest = tail;
    }
    assert_eq!(alone.len(), 21);
    for filter in alone {
        let compiled = Match::try_from(&filter).unwrap();
        assert!(!compiled.is_empty(), "{filter:?}");
        assert!(!compiled.passes(&Exchange::default()), "{filter:?}");
    }
    assert!(Match::try_from(&Filter::default()).unwrap().is_empty());
}

#[test]
fn what_the_kernel_can_test_is_told_apart() {
    let filter = Filter {
        pids: vec![7],
        comms: strings(&["a-name-of-18-bytes"]),
        local_ports: vec![80],
        remote_ips: strings(&["10.0.0.0/8"]),
        statuses: strings(&["404"]),
        ..Filter::default()
    };
    let expected = Early {
        pids: vec![7],
        comms: strings(&["a-name-of-18-bytes"]),
        local: End { ports: vec![80], networks: Vec::new() },
        remote: End { ports: Vec::new(), networks: vec![Network::parse("10.0.0.0/8").unwrap()] },
    };
    assert_eq!(Match::try_from(&filter).unwrap().early(), expected);
    assert_eq!(Match::default().early(), Early::default());
}

#[test]
fn every_test_must_pass() {
    let mut both = field("method", Comparison::Exact, &["GET"], &["http"]);
    both.fields.extend(field("path", Comparison::Exact, &["/other"], &["http"]).fields);
    assert!(!passes(&both));
    both.fields[1].values.push("/orders/7".to_owned());
    assert!(passes(&both));
    both.errors = Errors::All.into();
    both.pids = vec![7];
    assert!(!passes(&both));
}

#[test]
fn errors_of_hand_shakes_pass_only_where_all_errors_do() {
    // Whether it is an error, whether of a hand-shake, and whether it passes each of the three.
    for (error, handshake, passed) in [
        (false, false, [true, false, false]),
        (false, true, [true, false, false]),
        (true, false, [true, true, true]),
        (true, true, [true, false, true]),
    ] {
        let exchange = Exchange { error, handshake, ..exchange() };
        for (errors, passed) in
            [Errors::Untested, Errors::WithoutHandshake, Errors::All].into_iter().zip(passed)
        {
            let compiled = Match::try_from(&Filter { errors: errors.into(), ..Filter::default() }).unwrap();
            assert_eq!(compiled.passes(&exchange), passed, "{errors:?} {error} {handshake}");
            assert_eq!(compiled.is_empty(), errors == Errors::Untested);
        }
        assert_eq!(counts_as_error(&exchange), error && !handshake);
    }
    assert_eq!(Match::try_from(&Filter { errors: 3, ..Filter::default() }).unwrap_err().field, "errors");
}

#[test]
fn one_of_several_attributes_of_a_name_suffices() {
    let compiled = Match::try_from(&field("key", Comparison::Exact, &["a", "c"], &[])).unwrap();
    let mut found = exchange();
    assert!(!compiled.passes(&found));
    found.attributes.push(attribute("key", "c"));
    assert!(compiled.passes(&found));
}

#[test]
fn a_status_word_ends_at_a_space() {
    let compiled =
        |word: &str| Match::try_from(&Filter { statuses: strings(&[word]), ..Default::default() }).unwrap();
    let with = |status: &str| Exchange { status: status.to_owned(), ..exchange() };
    assert!(compiled("ERR").passes(&with("ERR 1062")));
    assert!(compiled("ERR 1062").passes(&with("ERR 1062")));
    assert!(!compiled("ERR").passes(&with("ERROR")));
    assert!(!compiled("ERR 10").passes(&with("ERR 1062")));
    assert!(!compiled("5xx").passes(&with("5xx")));
    assert!(!compiled("5xx").passes(&with("")));
    assert!(!compiled("OK").passes(&with("")));
}

#[test]
fn what_is_unknown_fails_a_test_that_asks_for_it() {
    let bare = Exchange { protocol: "http".to_owned(), ..Default::default() };
    for filter in [
        Filter { pids: vec![0], ..Default::default() },
        Filter { local_ips: strings(&["0.0.0.0/0", "::/0"]), ..Default::default() },
        Filter { min_total_ns: 1, ..Default::default() },
        Filter { min_request_bytes: 1, ..Default::default() },
        Filter { min_response_bytes: 1, ..Default::default() },
        Filter { side: Side::Client.into(), ..Default::default() },
    ] {
        assert!(!Match::try_from(&filter).unwrap().passes(&bare), "{filter:?}");
    }
    assert!(Match::default().passes(&bare));
}

#[test]
fn an_invalid_value_names_field_value_and_reason() {
    let ips = |ip: &str| Filter { remote_ips: strings(&[ip]), ..Default::default() };
    let table = [
        (ips("10.0.0.0/33"), "remote-ips", "0 to 32"),
        (ips("::/129"), "remote-ips", "0 to 128"),
        (ips("10.0.0"), "remote-ips", "address"),
        (ips("10.0.0.0/"), "remote-ips", "0 to 32"),
        (Filter { local_ports: vec![65_536], ..Default::default() }, "local-ports", "65535"),
        (Filter { local_ports: vec![0], ..Default::default() }, "local-ports", "65535"),
        (
            Filter { container_ids: strings(&["0123456789a"]), ..Default::default() },
            "container-id",
            "12 to 64",
        ),
        (Filter { container_ids: strings(&["0123456789ag"]), ..Default::default() }, "container-id", "hex"),
        (Filter { statuses: strings(&[""]), ..Default::default() }, "status", "word"),
        (Filter { side: 9, ..Default::default() }, "side", "unknown"),
        (field("path", Comparison::Regex, &["("], &[]), "path", "unclosed group"),
        (field("path", Comparison::Regex, &["(x{1000}){1000}"], &[]), "path", "size limit"),
    ];
    for (filter, field, reason) in table {
        let error = Match::try_from(&filter).unwrap_err();
        assert_eq!(error.field, field);
        assert!(error.reason.contains(reason), "{error}");
        assert!(error.to_string().contains(&format!("`{}`", error.value)), "{error}");
    }
}

#[test]
fn protocols_are_wanted_only_if_every_field_test_can_pass() {
    let wants = |filter: &Filter, protocol: &str| Match::try_from(filter).unwrap().wants_protocol(protocol);
    let http = field("path", Comparison::Exact, &["/"], &["http"]);
    assert!(wants(&http, "http"));
    assert!(!wants(&http, "redis"));
    assert!(wants(&Filter::default(), "redis"));
    let without = Filter { without_protocols: strings(&["tcp"]), ..Filter::default() };
    assert!(wants(&without, "redis") && !wants(&without, "tcp"));
    assert!(Match::default().is_empty());
    assert!(!Match::try_from(&http).unwrap().is_empty());
}

proptest! {
    #[test]
    fn a_network_contains_exactly_what_shares_its_head(network: u32, address: u32, prefix in 0_u8..=32) {
        let parsed = Network::parse(&format!("{}/{prefix}", Ipv4Addr::from(network))).unwrap();
        let shift = 32 - u32::from(prefix);
        let same = network.checked_shr(shift).unwrap_or(0) == address.checked_shr(shift).unwrap_or(0);
        prop_assert_eq!(parsed.contains(Ipv4Addr::from(address).into()), same);
        prop_assert_eq!(parsed.contains(Ipv4Addr::from(address).to_ipv6_mapped().into()), same);
    }

    #[test]
    fn a_network_contains_exactly_what_shares_its_head_v6(network: u128, flipped in 0_u32..128, prefix in 0_u8..=128) {
        let parsed = Network::parse(&format!("{}/{prefix}", Ipv6Addr::from(network))).unwrap();
        let address = network ^ (1_u128 << (127 - flipped));
        prop_assume!(Ipv6Addr::from(address).to_ipv4_mapped().is_none());
        prop_assume!(Ipv6Addr::from(network).to_ipv4_mapped().is_none());
        prop_assert_eq!(parsed.contains(Ipv6Addr::from(address).into()), flipped >= u32::from(prefix));
    }

    #[test]
    fn any_text_compiles_or_is_refused_without_panic(text: String, status: String) {
        let filter = Filter {
            local_ips: vec![text.clone()],
            container_ids: vec![text.clone()],
            statuses: vec![status.clone()],
            ..field("path", Comparison::Regex, &[&text], &[])
        };
        if let Ok(compiled) = Match::try_from(&filter) {
            let _passes = compiled.passes(&Exchange { status, ..exchange() });
        }
    }

    #[test]
    fn adding_a_test_never_lets_more_pass(pids in proptest::collection::vec(40_u32..45, 0..3), errors in 0_i32..3, least in 0_u64..10_000_000) {
        let narrow = Filter { pids: pids.clone(), errors, min_total_ns: least, ..Default::default() };
        for wide in [
            Filter { errors: Errors::Untested.into(), ..narrow.clone() },
            // All errors are more than those without hand-shakes'.
            Filter { errors: errors.min(1) * 2, ..narrow.clone() },
            Filter { pids: Vec::new(), ..narrow.clone() },
            Filter { min_total_ns: least / 2, ..narrow.clone() },
        ] {
            prop_assert!(!passes(&narrow) || passes(&wide));
        }
    }
}

#[test]
fn pods_pass_by_namespace_name_workload_container_and_node() {
    let origin = v1::Origin {
        node: "n1".to_owned(),
        namespace: "shop".to_owned(),
        pod: "orders-1".to_owned(),
        container: "app".to_owned(),
        workload: "Deployment/orders".to_owned(),
        ..v1::Origin::default()
    };
    let exchange = v1::Exchange { origin: Some(origin), ..v1::Exchange::default() };
    let host = v1::Exchange { origin: Some(v1::Origin::default()), ..v1::Exchange::default() };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    for (filter, passes) in [
        (v1::Filter { namespaces: words(&["shop"]), ..v1::Filter::default() }, true),
        (v1::Filter { namespaces: words(&["other"]), ..v1::Filter::default() }, false),
        (v1::Filter { pods: words(&["orders-1"]), ..v1::Filter::default() }, true),
        (v1::Filter { pods: words(&["other/orders-1"]), ..v1::Filter::default() }, false),
        (v1::Filter { workloads: words(&["deployment/orders"]), ..v1::Filter::default() }, true),
        (v1::Filter { workloads: words(&["deploy/orders"]), ..v1::Filter::default() }, true),
        (
            v1::Filter { workloads: words(&["sts/a", "deployments.apps/orders"]), ..v1::Filter::default() },
            true,
        ),
        (v1::Filter { workloads: words(&["po/orders-1"]), ..v1::Filter::default() }, true),
        (v1::Filter { workloads: words(&["po/orders"]), ..v1::Filter::default() }, false),
        (v1::Filter { workloads: words(&["StatefulSet/orders"]), ..v1::Filter::default() }, false),
        (v1::Filter { containers: words(&["app", "x"]), ..v1::Filter::default() }, true),
        (v1::Filter { nodes: words(&["n2"]), ..v1::Filter::default() }, false),
    ] {
        let compiled = Match::try_from(&filter).unwrap();
        assert!(!compiled.is_empty());
        assert_eq!(compiled.passes(&exchange), passes, "{filter:?}");
        assert!(!compiled.passes(&host), "{filter:?}");
    }
    for filter in [
        v1::Filter { pods: words(&["a/b/c"]), ..v1::Filter::default() },
        v1::Filter { workloads: words(&["orders"]), ..v1::Filter::default() },
    ] {
        assert!(Match::try_from(&filter).is_err());
    }
}

#[test]
fn a_command_name_is_compared_as_far_as_the_kernel_keeps_it() {
    let passes = |wanted: &str, kept: &str| {
        let filter = Filter { comms: strings(&[wanted]), ..Filter::default() };
        let origin = v1::Origin { comm: kept.to_owned(), ..v1::Origin::default() };
        let exchange = v1::Exchange { origin: Some(origin), ..v1::Exchange::default() };
        Match::try_from(&filter).unwrap().passes(&exchange)
    };
    assert!(passes("systemd-resolved", "systemd-resolve"), "16 bytes, of which 15 are kept");
    assert!(passes("systemd-resolve", "systemd-resolve"));
    assert!(!passes("systemd-resolv", "systemd-resolve"), "a shorter name is another one");
    assert!(passes("fourteen-bytes\u{e9}", "fourteen-bytes\u{fffd}"), "cut inside a character");
}
