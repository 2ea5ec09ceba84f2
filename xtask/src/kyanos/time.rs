//! Where the time of an exchange went, as its line says.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Exchange;

/// Names of the parts, in the order in which they come.
pub const PARTS: [&str; 7] = ["send", "network", "transfer", "receive", "queue", "internal", "read"];

/// One place at which a message was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Nanoseconds since the exchange's start.
    pub at_ns: i64,
    /// `process`, `nic` or `socket`.
    pub place: String,
    /// Name of the place, such as the interface.
    pub name: String,
    /// Inode of the network namespace, of a place that lies in one.
    pub netns: Option<u64>,
    /// Whether the message left the observed process here.
    pub out: bool,
    /// Whether it is the request, else the response.
    pub request: bool,
    /// Bytes carried.
    pub bytes: u64,
}

// === impl Exchange ===

impl Exchange {
    /// Returns one of the [`PARTS`] in nanoseconds, where it was observed.
    #[must_use]
    pub fn part(&self, name: &str) -> Option<u64> {
        self.number(&format!("{name}_ns"))
    }

    /// Returns one of the [`PARTS`] in milliseconds, 0 where it was not observed.
    #[must_use]
    pub fn part_ms(&self, name: &str) -> f64 {
        std::time::Duration::from_nanos(self.part(name).unwrap_or_default()).as_secs_f64() * 1e3
    }

    /// Returns the places at which it was seen.
    pub fn hops(&self) -> Result<Vec<Hop>> {
        let hops = self.value.get("hops").and_then(Value::as_array).context("no hops")?;
        hops.iter().map(|value| hop(value).with_context(|| format!("the hop {value}"))).collect()
    }

    /// Checks what holds for every exchange: parts are the total's, none is negative, times and hops are in order.
    pub fn check_times(&self) -> Result<()> {
        let mut sum = 0;
        for part in PARTS {
            let value = self.value.get(format!("{part}_ns")).unwrap_or(&Value::Null);
            ensure!(value.is_null() || value.is_u64(), "{part} is {value}");
            sum += self.part(part).unwrap_or_default();
        }
        let total = self.number("total_ns");
        if let Some(total) = total {
            ensure!(sum == total, "the parts sum up to {sum} of {total} ns");
            let ends = self.time_ns("end_time").zip(self.time_ns("start_time"));
            let between = ends.map(|(end, start)| end - start);
            ensure!(between == Some(total.into()), "{between:?} ns from start to end of {total} ns");
        }
        let hops = self.hops()?;
        ensure!(hops.is_sorted_by_key(|hop| hop.at_ns), "hops are out of order: {hops:#?}");
        Ok(())
    }
}

// === free functions ===

fn hop(value: &Value) -> Result<Hop> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).with_context(|| format!("its {name}"));
    let number = |name: &str| value.get(name).and_then(Value::as_u64).with_context(|| format!("its {name}"));
    let either = |name: &str, yes: &str, no: &str| -> Result<bool> {
        let found = text(name)?;
        ensure!([yes, no].contains(&found), "its {name} is `{found}`");
        Ok(found == yes)
    };
    Ok(Hop {
        at_ns: value.get("at_ns").and_then(Value::as_i64).context("its time")?,
        place: text("place")?.to_owned(),
        name: text("name")?.to_owned(),
        netns: value.get("netns").context("its netns")?.as_u64(),
        out: either("direction", "out", "in")?,
        request: either("message", "request", "response")?,
        bytes: number("bytes")?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use serde_json::json;

    use super::*;

    fn line(value: Value) -> Exchange {
        Exchange { arrived: SystemTime::UNIX_EPOCH, value }
    }

    fn sound() -> Value {
        let hop = |at_ns: i64, message: &str| {
            json!({"at_ns": at_ns, "place": "nic", "name": "eth0", "netns": 7, "direction": "out",
                "message": message, "bytes": 3})
        };
        json!({"total_ns": 30, "send_ns": 10, "network_ns": 20, "queue_ns": null,
            "start_time": "2026-01-01T00:00:00.000000010Z", "end_time": "2026-01-01T00:00:00.000000040Z",
            "hops": [hop(-1, "request"), hop(9, "response")]})
    }

    #[test]
    fn what_is_wrong_with_times_is_found() {
        let right = line(sound());
        right.check_times().unwrap();
        assert_eq!((right.part("send"), right.part("queue")), (Some(10), None));
        let hops = right.hops().unwrap();
        assert!(hops[0].request && !hops[1].request && hops[1].out);
        for (name, wrong) in [
            ("send_ns", json!(11)),
            ("queue_ns", json!(-1)),
            ("queue_ns", json!("0")),
            ("end_time", json!("2026-01-01T00:00:00.000000041Z")),
            ("hops", json!([sound()["hops"][1], sound()["hops"][0]])),
            ("hops", json!([{"at_ns": 1}])),
        ] {
            let mut value = sound();
            value[name] = wrong.clone();
            assert!(line(value).check_times().is_err(), "{name} {wrong}");
        }
    }
}
