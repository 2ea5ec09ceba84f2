//! What passes in a tunnel is read as on a connection of its own.

use super::{Feed, Fixture, fixtures, golden, run};
use crate::conversation::{Exchange, Message, Outcome, Transport};
use crate::decoder::Side;

/// How a tunnel is opened.
struct Opening {
    /// The operation that is shown of it.
    shown: Option<&'static str>,
    /// What client and proxy say.
    said: Vec<(Side, Vec<u8>)>,
}

fn openings() -> [Opening; 3] {
    let [client, server] =
        [Side::Client, Side::Server].map(|side| move |bytes: &[u8]| (side, bytes.to_vec()));
    [
        Opening {
            shown: Some("CONNECT db.test:443"),
            said: vec![
                client(b"CONNECT db.test:443 HTTP/1.1\r\nHost: db.test:443\r\n\r\n"),
                server(b"HTTP/1.1 200 Connection established\r\n\r\n"),
            ],
        },
        Opening {
            shown: None,
            said: vec![
                client(b"\x05\x01\0"),
                server(b"\x05\0"),
                client(b"\x05\x01\0\x03\x07db.test\x01\xbb"),
                server(b"\x05\0\0\x01\x7f\0\0\x01\x1f\x90"),
            ],
        },
        Opening {
            shown: None,
            said: vec![client(b"\x04\x01\0\x50\x0a\0\0\x01ann\0"), server(b"\0\x5a\0\0\0\0\0\0")],
        },
    ]
}

#[test]
fn in_a_tunnel_everything_is_as_on_a_connection_of_its_own() {
    let mut checked = 0;
    for fixture in fixtures().iter().filter(|fixture| fixture.transport == Transport::Tcp) {
        let alone = run(fixture, &fixture.chunks);
        // What a proxy announces comes ahead of all else.
        if alone
            .iter()
            .any(|outcome| matches!(outcome, Outcome::Exchange(Exchange { announced: Some(_), .. })))
        {
            continue;
        }
        for opening in openings() {
            check(fixture, &golden(&alone), &opening);
        }
        checked += 1;
    }
    assert!(checked > 100, "{checked}");
}

fn check(fixture: &Fixture, alone: &str, opening: &Opening) {
    let Opening { shown, said } = opening;
    let [asked, answered] = [Side::Client, Side::Server].map(|side| {
        let by_side = said.iter().filter(|(sender, _)| *sender == side);
        u64::try_from(by_side.map(|(_, bytes)| bytes.len()).sum::<usize>()).unwrap()
    });
    let back = |message: &mut Option<Message>, by: u64| {
        if let Some(message) = message {
            (message.start, message.end) = (message.start - by, message.end - by);
        }
    };
    let opening: Vec<_> = said.iter().map(|(side, bytes)| (*side, 0, bytes.clone())).collect();
    let apart = [&opening[..], &fixture.chunks].concat();
    let mut together = apart.clone();
    if together[opening.len()].0 == Side::Server {
        // A server's greeting may come with the proxy's answer.
        let (.., greeting) = together.remove(opening.len());
        together[opening.len() - 1].2.extend(greeting);
    }
    for chunks in [apart, together] {
        // Asked for, the tunnel's opening is shown; what it holds is shown either way.
        for (protocols, shown) in
            [(Vec::new(), *shown), (vec![fixture.protocol.clone()], asked_for(fixture, *shown))]
        {
            let mut outcomes = run_for(protocols, &chunks);
            if let Some(shown) = shown {
                let Outcome::Exchange(connect) = outcomes.remove(0) else { panic!("{}", fixture.name) };
                assert_eq!((connect.operation.as_str(), connect.status.as_str()), (shown, "200"));
            }
            for outcome in &mut outcomes {
                if let Outcome::Exchange(Exchange { request, response, .. }) = outcome {
                    back(request, asked);
                    back(response, answered);
                }
            }
            assert_eq!(golden(&outcomes), alone, "{} behind {shown:?}", fixture.name);
        }
    }
}

/// Returns what is shown of an opening where the fixture's protocol alone is asked for.
fn asked_for(fixture: &Fixture, shown: Option<&'static str>) -> Option<&'static str> {
    shown.filter(|_| fixture.protocol == "http")
}

fn run_for(protocols: Vec<String>, chunks: &[(Side, u64, Vec<u8>)]) -> Vec<Outcome> {
    let mut feed = Feed::new(Transport::Tcp, true);
    feed.ask_for(protocols);
    for (side, at_ns, bytes) in chunks {
        feed.chunk(*side, *at_ns, bytes);
    }
    feed.end()
}
