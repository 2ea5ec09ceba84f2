//! What a session's hub says of it, in `status`.

use proto::v1;
use serde_json::{Map, Value, json};

use super::units::{count, rfc3339};
use crate::summary;

/// Titles of the columns that [`cells`] fills.
pub(crate) const TITLES: [&str; 4] = ["VIEWERS", "STORED", "CAPTURED", "LOST"];

/// Cells under [`TITLES`]; dashes where the hub does not answer.
pub(crate) fn cells(state: Option<&v1::DescribeResponse>) -> [String; 4] {
    let Some(state) = state else { return ["-", "-", "-", "-"].map(str::to_owned) };
    let balances = &state.balances;
    [
        state.viewers.to_string(),
        count(state.stored),
        count(captured(balances)),
        summary::lost(&summary::relevant(balances, None)).replacen("lost ", "", 1),
    ]
}

/// Capturers that capture, of those that the hub knows.
pub(crate) fn capturers(state: &v1::DescribeResponse) -> String {
    let capturing =
        state.capturers.iter().filter(|capturer| capturer.connected && capturer.capturing).count();
    format!("{capturing}/{}", state.capturers.len())
}

/// Nodes whose capturers capture, and in brackets those whose do not.
pub(crate) fn nodes(state: &v1::DescribeResponse) -> String {
    let name = |capturer: &v1::CapturerState| {
        let captures = capturer.connected && capturer.capturing;
        if captures { capturer.node.clone() } else { format!("({})", capturer.node) }
    };
    state.capturers.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Fields of JSON and YAML; null where the hub does not answer.
pub(crate) fn fields(state: Option<&v1::DescribeResponse>) -> Map<String, Value> {
    let balances = state.map(|state| state.balances.as_slice()).unwrap_or_default();
    let fields = json!({
        "store_state": state.map(|state| state.store.clone()),
        "stored": state.map(|state| state.stored),
        "viewers": state.map(|state| state.viewers),
        "captured": state.map(|_| captured(balances)),
        "clamped": state.map(|state| state.clamped),
        "capturers": state.map(|state| state.capturers.iter().map(capturer).collect::<Vec<_>>()),
        "balances": balances.iter().map(balance).collect::<Vec<_>>(),
    });
    match fields {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

/// Exchanges that capturers delivered.
fn captured(balances: &[v1::Balance]) -> u64 {
    let of_capturers = balances.iter().filter(|balance| balance.consumer.starts_with("capturer"));
    of_capturers.filter(|balance| balance.unit == "exchanges").map(|balance| balance.delivered).sum()
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

fn balance(balance: &v1::Balance) -> Value {
    let lost: Map<String, Value> = summary::stages(std::iter::once(balance))
        .into_iter()
        .map(|(stage, total)| (stage, total.into()))
        .collect();
    json!({
        "consumer": balance.consumer,
        "unit": balance.unit,
        "seen": balance.seen,
        "delivered": balance.delivered,
        "filtered": balance.filtered,
        "lost": lost,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_that_does_not_answer_leaves_blanks() {
        assert_eq!(cells(None), ["-", "-", "-", "-"]);
        let fields = fields(None);
        assert_eq!((&fields["stored"], &fields["captured"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn totals_are_the_capturers_and_losses_of_all_but_viewers() {
        let balance = |consumer: &str, delivered, lost| v1::Balance {
            consumer: consumer.to_owned(),
            unit: "exchanges".to_owned(),
            seen: delivered + lost,
            delivered,
            filtered: 0,
            lost: vec![v1::Loss { stage: "store".to_owned(), unit: "exchanges".to_owned(), total: lost }],
            process: 0,
        };
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
                balance("capturer n1", 1000, 0),
                balance("capturer n2", 300, 0),
                balance("viewer 1", 5, 9),
                balance("store", 1234, 3),
            ],
            ..v1::DescribeResponse::default()
        };
        assert_eq!(cells(Some(&state)), ["2", "1,234", "1,300", "3 exchanges (store 3)"]);
        assert_eq!((capturers(&state).as_str(), nodes(&state).as_str()), ("1/2", "n1, (n2)"));
        assert_eq!(fields(Some(&state))["captured"], 1300);
    }
}
