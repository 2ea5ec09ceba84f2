//! What a session's hub says of it, in `status`.

use jiff::tz::TimeZone;
use proto::account::{Balance, Consumer, Hole, Unit};
use proto::{store_state, v1};
use serde_json::{Map, Value, json};

use super::units::{count, rfc3339};
use super::{summary, unseen};

/// Titles of the columns that [`cells`] fills.
pub(crate) const TITLES: [&str; 4] = ["VIEWERS", "STORED", "CAPTURED", "LOST"];

/// Cells under [`TITLES`]; dashes where the hub does not answer.
pub(crate) fn cells(state: Option<&v1::DescribeResponse>) -> [String; 4] {
    let Some(state) = state else { return ["-", "-", "-", "-"].map(str::to_owned) };
    let balances = summary::read(&state.balances);
    [
        state.viewers.to_string(),
        count(state.stored),
        count(captured(&balances)),
        summary::lost(&summary::relevant(&balances, None)).replacen("lost ", "", 1),
    ]
}

/// Capturers that capture, of those that the hub knows.
pub(crate) fn capturers(state: &v1::DescribeResponse) -> String {
    let capturing =
        state.capturers.iter().filter(|capturer| capturer.connected && capturer.capturing).count();
    format!("{capturing}/{}", state.capturers.len())
}

/// What nobody saw, in order; of a silence that is over nothing is lost.
fn holes(state: &v1::DescribeResponse) -> Vec<Hole> {
    let told = state.sight.clone().unwrap_or_default().holes;
    let mut holes = Hole::read_all(told).unwrap_or_default();
    holes.retain(|hole| !hole.is_over());
    holes
}

/// What nobody saw, in lines that name the session.
pub(crate) fn not_seen(session: &str, state: Option<&v1::DescribeResponse>, zone: &TimeZone) -> Vec<String> {
    let holes = state.map(holes).unwrap_or_default();
    let all: Vec<&Hole> = holes.iter().collect();
    unseen::lines(&all, zone).into_iter().map(|line| format!("session `{session}`: {line}")).collect()
}

/// Nodes whose capturers capture, and in brackets those whose do not.
pub(crate) fn nodes(state: &v1::DescribeResponse) -> String {
    let silent: Vec<Hole> = holes(state).into_iter().filter(|hole| hole.until_ns.is_none()).collect();
    let name = |capturer: &v1::CapturerState| {
        let captures = capturer.connected && capturer.capturing;
        let is_silent = silent.iter().any(|hole| hole.node == capturer.node);
        if captures && !is_silent { capturer.node.clone() } else { format!("({})", capturer.node) }
    };
    state.capturers.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// How the store is, in a cell: why it starts is in the other formats.
pub(crate) fn store(state: &v1::DescribeResponse) -> String {
    let store = state.store.clone().unwrap_or_default();
    if store_state::is_starting(&store) {
        store_state::word(&store).to_owned()
    } else {
        store_state::in_full(&store)
    }
}

/// Fields of JSON and YAML; null where the hub does not answer.
pub(crate) fn fields(state: Option<&v1::DescribeResponse>) -> Map<String, Value> {
    let balances = state.map(|state| summary::read(&state.balances)).unwrap_or_default();
    let fields = json!({
        "store_state": state.map(|state| store_state::in_full(&state.store.clone().unwrap_or_default())),
        "stored": state.map(|state| state.stored),
        "viewers": state.map(|state| state.viewers),
        "captured": state.map(|_| captured(&balances)),
        "clamped": state.map(|state| state.clamped),
        "capturers": state.map(|state| state.capturers.iter().map(capturer).collect::<Vec<_>>()),
        "not_seen": state.map(|state| holes(state).iter().map(unseen::fields).collect::<Vec<_>>()),
        "balances": balances.iter().map(balance).collect::<Vec<_>>(),
    });
    match fields {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

/// Exchanges that capturers delivered.
fn captured(balances: &[Balance]) -> u64 {
    let of_capturers = balances.iter().filter(|balance| matches!(balance.consumer, Consumer::Capturer(_)));
    of_capturers.filter(|balance| balance.unit == Unit::Exchange).map(|balance| balance.delivered).sum()
}

fn capturer(capturer: &v1::CapturerState) -> Value {
    json!({
        "node": capturer.node,
        "kernel": capturer.kernel,
        "version": capturer.version,
        "connected": capturer.connected,
        "capturing": capturer.capturing,
        "last_seen": rfc3339(capturer.last_seen_ns),
        "hub": (!capturer.hub.is_empty()).then_some(&capturer.hub),
    })
}

fn balance(balance: &Balance) -> Value {
    let lost: Map<String, Value> =
        balance.by_stage().map(|(stage, total)| (stage.word().to_owned(), total.into())).collect();
    json!({
        "consumer": balance.consumer.to_string(),
        "unit": balance.unit.plural(),
        "seen": balance.seen,
        "delivered": balance.delivered,
        "filtered": balance.filtered,
        "lost": lost,
    })
}

#[cfg(test)]
mod tests {
    use proto::account::{HoleKind, Stage};

    use super::*;

    #[test]
    fn a_hub_that_does_not_answer_leaves_blanks() {
        assert_eq!(cells(None), ["-", "-", "-", "-"]);
        let fields = fields(None);
        assert_eq!((&fields["stored"], &fields["captured"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn totals_are_the_capturers_and_losses_of_all_but_viewers() {
        let balance = |consumer, delivered, lost| {
            let lost = (Stage::Store, lost).into();
            v1::Balance::from(Balance::of_fates(consumer, Unit::Exchange, delivered, 0, lost))
        };
        let of = |node: &str| Consumer::Capturer(node.to_owned());
        let capturer = |node: &str, connected| v1::CapturerState {
            node: node.to_owned(),
            connected,
            capturing: true,
            ..v1::CapturerState::default()
        };
        let state = v1::DescribeResponse {
            viewers: 2,
            stored: 1234,
            capturers: vec![capturer("n1", true), capturer("n2", false)],
            balances: vec![
                balance(of("n1"), 1000, 0),
                balance(of("n2"), 300, 0),
                balance(Consumer::Viewer(1), 5, 9),
                balance(Consumer::Store, 1234, 3),
            ],
            ..v1::DescribeResponse::default()
        };
        assert_eq!(cells(Some(&state)), ["2", "1,234", "1,300", "3 exchanges (store 3)"]);
        assert_eq!((capturers(&state).as_str(), nodes(&state).as_str()), ("1/2", "n1, (n2)"));
        let fields = fields(Some(&state));
        assert_eq!(fields["not_seen"], json!([]));
        assert_eq!((&fields["captured"], &fields["store_state"]), (&json!(1300), &json!("none")));
        let store = json!({"consumer": "store", "unit": "exchanges", "seen": 1237, "delivered": 1234, "filtered": 0,
            "lost": {"store": 3}});
        assert_eq!(fields["balances"][3], store);
    }

    #[test]
    fn a_node_that_nobody_sees_is_named_with_the_time() {
        const SECOND: u64 = 1_000_000_000;
        let hole = |node: &str, until_ns, kind| Hole {
            node: node.to_owned(),
            since_ns: 1_700_000_000 * SECOND,
            until_ns,
            kind,
        };
        let holes =
            [hole("n2", Some(1_700_000_002 * SECOND), HoleKind::Restarted), hole("n3", None, HoleKind::Gone)];
        let lost = holes[1].balance(1_700_000_009 * SECOND);
        let capturer = |node: &str| v1::CapturerState {
            node: node.to_owned(),
            connected: true,
            capturing: true,
            ..v1::CapturerState::default()
        };
        let state = v1::DescribeResponse {
            capturers: vec![capturer("n2"), capturer("n3")],
            balances: vec![lost.into()],
            sight: Some(v1::Sight {
                nodes: Vec::new(),
                holes: holes.into_iter().map(v1::Hole::from).collect(),
            }),
            ..v1::DescribeResponse::default()
        };
        let lines = not_seen("abcde", Some(&state), &TimeZone::UTC);
        assert_eq!(
            lines,
            [
                "session `abcde`: capturer on n2 restarted, 2.0 s not seen",
                "session `abcde`: n3 silent since 22:13:20"
            ]
        );
        assert_eq!(
            (nodes(&state).as_str(), cells(Some(&state))[3].as_str()),
            ("n2, (n3)", "9 seconds (silent 9)")
        );
        assert_eq!(fields(Some(&state))["not_seen"][1]["node"], "n3");
        assert_eq!(not_seen("abcde", None, &TimeZone::UTC), [""; 0]);
    }
}
