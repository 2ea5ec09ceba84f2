//! The decoder that `docs/decoders.md` quotes. It is not in the registry, so the laws are held against it here.

use super::*;
use crate::example::PROTOCOL;

static IDENT: Protocol = PROTOCOL;

fn fixture() -> Fixture {
    load(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/example/ident.txt"))
}

fn feed() -> Feed {
    let redaction = Redaction { enabled: true, headers: Vec::new() };
    let options = Options { payload_bytes: PAYLOAD, redaction, protocols: Vec::new() };
    let conversation = Conversation::speaking(&IDENT, Side::Server, Arc::new(options));
    Feed { conversation, positions: [0, 0], transport: Transport::Tcp }
}

/// Returns what comes of the fixture in pieces of so many bytes, the chunk `lost` left out.
fn hear(fixture: &Fixture, piece: usize, lost: Option<usize>) -> Vec<Outcome> {
    let mut feed = feed();
    for (index, (side, at_ns, bytes)) in fixture.chunks.iter().enumerate() {
        if lost == Some(index) {
            feed.gap(*side, *at_ns, bytes.len());
            continue;
        }
        for part in bytes.chunks(piece) {
            feed.chunk(*side, *at_ns, part);
        }
    }
    feed.end()
}

fn judged(sender: Side, head: &[u8]) -> Probe {
    let evidence = Evidence {
        sender,
        head,
        other: &[],
        from_start: true,
        spoke_first: sender == Side::Client,
        usual_port: false,
        port: 0,
    };
    (IDENT.probe)(&evidence)
}

#[test]
fn the_fixture_decodes_to_its_golden_text_in_pieces_of_any_size() {
    let fixture = fixture();
    let want = std::fs::read_to_string(fixture.path.with_extension("golden")).unwrap();
    for piece in [1, 2, 3, 7, 1000] {
        assert_eq!(golden(&hear(&fixture, piece, None)), want, "in pieces of {piece}");
    }
}

#[test]
fn the_entry_knows_every_status_and_attribute() {
    let outcomes = hear(&fixture(), 1000, None);
    assert_eq!(outcomes.len(), 2);
    for outcome in outcomes {
        let Outcome::Exchange(exchange) = outcome else { panic!("{outcome:?}") };
        check_entry(&IDENT, &exchange, "ident");
    }
}

#[test]
fn each_side_is_judged_by_what_only_this_protocol_has() {
    let table: [(Side, &[u8], Probe); 8] = [
        (Side::Client, b"", Probe::NeedMore),
        (Side::Client, b"40112, 2", Probe::NeedMore),
        (Side::Client, b"GET / HT", Probe::No),
        (Side::Client, b"40112, 25\r\n", Probe::Maybe),
        (Side::Client, b"40112 25\r\n", Probe::No),
        (Side::Client, b"40112, 70000\r\n", Probe::No),
        (Side::Server, b"40112, 25 : ERROR : NO-USER\r\n", Probe::Yes),
        (Side::Server, b"220 mail.example\r\n", Probe::No),
    ];
    for (sender, head, want) in table {
        assert_eq!(judged(sender, head), want, "{sender:?} {}", head.escape_ascii());
    }
    for protocol in registry() {
        for (sender, _, head) in fixture().chunks {
            let evidence = Evidence {
                sender,
                head: &head,
                other: &[],
                from_start: true,
                spoke_first: true,
                usual_port: false,
                port: 0,
            };
            assert_ne!((protocol.probe)(&evidence), Probe::Yes, "{} claims {sender:?}", protocol.name);
        }
    }
}

#[test]
fn a_query_that_is_lost_leaves_its_answer_alone() {
    let outcomes = hear(&fixture(), 1000, Some(0));
    let text = golden(&outcomes);
    assert!(text.contains("Unpaired"), "{text}");
    assert!(!text.contains("owner"), "nobody asked, as far as was seen: {text}");
}

#[test]
fn what_the_user_does_not_want_to_see_is_left_out() {
    let mut decoder = (IDENT.open)(
        &Options {
            payload_bytes: 5,
            redaction: Redaction { enabled: true, headers: Vec::new() },
            protocols: Vec::new(),
        },
        true,
    );
    let step = decoder.decode(Side::Client, b"40112, 25\r\n");
    let text = format!("{step:?}");
    assert!(text.contains("truncated: true") && text.contains("consumed: 11"), "{text}");
}

#[test]
fn damage_never_panics_or_overruns_the_example() {
    let mut random = Random(11);
    for _ in 0..500 {
        let mut damaged = fixture();
        let at = random.below(damaged.chunks.len());
        let bytes = &mut damaged.chunks[at].2;
        let place = random.below(bytes.len());
        bytes[place] = u8::try_from(random.below(256)).unwrap();
        let total = u64::try_from(bytes.len()).unwrap() * 10;
        for outcome in hear(&damaged, 1 + random.below(9), None) {
            if let Outcome::Exchange(Exchange { request: Some(request), .. }) = outcome {
                assert!(request.start < request.end && request.end < total, "{request:?}");
            }
        }
    }
}
