//! Conversations in other protocols, as their specifications give them: nothing of them is ever shown, however they are
//! delivered and whenever they are joined. Nothing of them counts as lost either, unless so little was seen that it may
//! have been one of our protocols: a lone `quit` that nobody answered.

use super::*;

/// The fixtures' folder. They are written like the others, and have no golden text.
pub(super) const FOLDER: &str = "foreign";

fn foreign() -> Vec<Fixture> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(FOLDER);
    let files = std::fs::read_dir(root).unwrap();
    let fixtures: Vec<Fixture> = files.map(|file| load(file.unwrap().path())).collect();
    assert!(fixtures.len() > 40, "all of them are found");
    fixtures
}

/// Returns what comes of a fixture of which the first `joined` calls were not seen.
fn hear(fixture: &Fixture, side: Option<Side>, joined: usize, piece: usize) -> Vec<Outcome> {
    let mut feed = Feed::new(fixture.transport, joined == 0);
    let context = Context {
        transport: fixture.transport,
        side,
        local_port: 5000,
        remote_port: 40_000,
        from_start: joined == 0,
    };
    let options = Options {
        payload_bytes: PAYLOAD,
        redaction: Redaction { enabled: true, headers: Vec::new() },
        protocols: Vec::new(),
    };
    feed.conversation = Conversation::new(context, Arc::new(options));
    for (side, at, bytes) in fixture.chunks.iter().skip(joined) {
        let piece = if fixture.transport == Transport::Udp { usize::MAX } else { piece };
        for piece in bytes.chunks(piece) {
            feed.chunk(*side, *at, piece);
        }
    }
    feed.end()
}

#[test]
fn nothing_of_another_protocol_is_shown() {
    let mut failed = Vec::new();
    for fixture in foreign() {
        for joined in 0..fixture.chunks.len() {
            for side in [Some(Side::Server), None] {
                for piece in [usize::MAX, 7, 1] {
                    for outcome in hear(&fixture, side, joined, piece) {
                        if joined > 0 && matches!(outcome, Outcome::Unparsable { .. }) {
                            continue;
                        }
                        let text = golden(std::slice::from_ref(&outcome));
                        failed.push(format!("{} from {joined} in {piece}, {side:?}: {text}", fixture.name));
                    }
                }
            }
        }
    }
    assert!(failed.is_empty(), "{} of them: {}", failed.len(), failed.join(""));
}
