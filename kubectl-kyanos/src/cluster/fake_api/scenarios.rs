//! What API servers do that are not willing, or not idle, by name.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Answer, Call, review, version};

/// Nobody knows the credentials any more.
pub(crate) fn expired_credentials() -> impl FnMut(&Call) -> Option<Answer> + Send + 'static {
    |_| Some(Answer::refusal(401, "Unauthorized", "Unauthorized"))
}

/// The cluster is of version 1.`minor`.
pub(crate) fn old_cluster(minor: &'static str) -> impl FnMut(&Call) -> Option<Answer> + Send + 'static {
    move |call| (call.path() == "/version").then(|| Answer::Object(200, version(minor)))
}

/// These verbs are forbidden, each of a kind in plural, and whoever asks is told so.
pub(crate) fn forbidden(
    rights: &'static [(&'static str, &'static str)],
) -> impl FnMut(&Call) -> Option<Answer> + Send + 'static {
    move |call| {
        if call.is_review() {
            let asked = &call.body["spec"]["resourceAttributes"];
            let asked = (asked["resource"].as_str()?, asked["verb"].as_str()?);
            return rights.contains(&asked).then(|| review(call, false));
        }
        let kind = call.target().kind;
        let message = format!("{kind} is forbidden");
        rights.contains(&(kind, call.verb())).then(|| Answer::refusal(403, "Forbidden", &message))
    }
}

/// Writes of a kind are forbidden in these words: by a right that is missing, by the rule against granting more than
/// one holds, by admission, or because their namespace ends.
pub(crate) fn writes_forbidden(
    kind: &'static str,
    message: &'static str,
) -> impl FnMut(&Call) -> Option<Answer> + Send + 'static {
    writes_refused(kind, 403, "Forbidden", message)
}

/// No object of a kind may be written, for this reason.
pub(crate) fn writes_refused(
    kind: &'static str,
    code: u16,
    reason: &'static str,
    message: &'static str,
) -> impl FnMut(&Call) -> Option<Answer> + Send + 'static {
    move |call| is_write(call, kind).then(|| Answer::refusal(code, reason, message))
}

/// No object of a kind may be written, since its namespace is being deleted.
pub(crate) fn namespace_ends(
    kind: &'static str,
    message: &'static str,
) -> impl FnMut(&Call) -> Option<Answer> + Send + 'static {
    move |call| {
        is_write(call, kind).then(|| {
            let cause = json!({ "reason": "NamespaceTerminating", "field": "metadata.namespace" });
            Answer::Object(
                403,
                json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403,
                    "reason": "Forbidden", "message": message, "details": { "causes": [cause] },
                }),
            )
        })
    }
}

/// Objects of a kind are there already, and another manager writes them.
pub(crate) fn written_by_another(
    kind: &'static str,
    manager: &'static str,
) -> impl FnMut(&Call) -> Option<Answer> + Send + 'static {
    let message = format!("Apply failed with 1 conflict: conflict with \"{manager}\": .rules");
    move |call| is_write(call, kind).then(|| Answer::refusal(409, "Conflict", &message))
}

/// The API server is too busy for so many writes of a kind.
pub(crate) fn busy(kind: &'static str, times: u32) -> impl FnMut(&Call) -> Option<Answer> + Send + 'static {
    first(times, move |call| {
        is_write(call, kind).then(|| Answer::refusal(429, "TooManyRequests", "too many"))
    })
}

/// The API server shuts down, and another one takes so many writes of a kind to be there.
pub(crate) fn restarting(
    kind: &'static str,
    times: u32,
) -> impl FnMut(&Call) -> Option<Answer> + Send + 'static {
    first(times, move |call| {
        let refusal = || Answer::refusal(503, "ServiceUnavailable", "the server is shutting down");
        is_write(call, kind).then(refusal)
    })
}

/// The part that checks a binding's role does not see it for so many writes.
pub(crate) fn role_not_seen_yet(times: u32) -> impl FnMut(&Call) -> Option<Answer> + Send + 'static {
    first(times, |call| {
        let refusal = || Answer::refusal(404, "NotFound", "clusterroles \"kyanos-abcde\" not found");
        is_write(call, "clusterrolebindings").then(refusal)
    })
}

/// The API server does not answer for a while.
pub(crate) fn away_for(time: Duration) -> impl FnMut(&Call) -> Option<Answer> + Send + 'static {
    let began = Instant::now();
    move |_| (began.elapsed() < time).then(|| Answer::refusal(503, "ServiceUnavailable", "away"))
}

/// Every question has the same refusal for an answer.
pub(crate) fn always(
    code: u16,
    reason: &'static str,
) -> impl FnMut(&Call) -> Option<Answer> + Send + 'static {
    move |_| Some(Answer::refusal(code, reason, reason))
}

/// These objects of a kind, in plural, are there and no others; those that say their namespace are in no other one.
pub(crate) fn holds(
    kind: &'static str,
    objects: Value,
) -> impl FnMut(&Call) -> Option<Answer> + Send + 'static {
    move |call| {
        let target = call.target();
        if call.method != Method::GET || call.is_watch() || target.kind != kind || target.part.is_some() {
            return None;
        }
        let is_here = |object: &&Value| match (call.namespace(), &object["metadata"]["namespace"]) {
            (Some(asked), Value::String(namespace)) => asked == namespace,
            _ => true,
        };
        let here: Vec<&Value> = objects.as_array()?.iter().filter(is_here).collect();
        let Some(name) = target.name else { return Some(Answer::list(&json!(here))) };
        let named = here.into_iter().find(|object| object["metadata"]["name"] == name);
        Some(named.map_or_else(|| Answer::willing(call), |object| Answer::Object(200, object.clone())))
    }
}

/// These objects of a kind are there when it is first asked for; afterwards the rules before this one say what is.
pub(crate) fn holds_at_first(
    kind: &'static str,
    objects: Value,
) -> impl FnMut(&Call) -> Option<Answer> + Send + 'static {
    first(1, holds(kind, objects))
}

/// The API has more groups, of somebody's own controllers: their names, versions and resources.
pub(crate) fn serves(
    groups: Vec<(&'static str, &'static str, Value)>,
) -> impl FnMut(&Call) -> Option<Answer> + Send + 'static {
    move |call| {
        if call.path() == "/apis" {
            let group = |(group, version, _): &(&str, &str, Value)| {
                let both = json!({ "groupVersion": format!("{group}/{version}"), "version": version });
                json!({ "name": group, "versions": [both], "preferredVersion": both })
            };
            let groups: Vec<Value> = groups.iter().map(group).collect();
            let groups = json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups });
            return Some(Answer::Object(200, groups));
        }
        let asked =
            groups.iter().find(|(group, version, _)| call.path() == format!("/apis/{group}/{version}"));
        asked.map(|(group, version, resources)| {
            let list = json!({
                "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{group}/{version}"),
                "resources": resources,
            });
            Answer::Object(200, list)
        })
    }
}

/// There is a namespace of this description already.
pub(crate) fn namespace_in_use(metadata: Value) -> impl FnMut(&Call) -> Option<Answer> + Send + 'static {
    move |call| match (call.target().kind, call.verb()) {
        ("namespaces", "create") => {
            Some(Answer::refusal(409, "AlreadyExists", "namespaces \"kyanos-abcde\" already exists"))
        }
        ("namespaces", "get") => {
            let namespace = json!({ "kind": "Namespace", "apiVersion": "v1", "metadata": metadata });
            Some(Answer::Object(200, namespace))
        }
        _ => None,
    }
}

/// Whoever makes a namespace waits so long for the answer, which is a refusal where there are words for it.
pub(crate) fn slow_to_make_a_namespace(
    after: Duration,
    refusal: Option<&'static str>,
) -> impl FnMut(&Call) -> Option<Answer> + Send + 'static {
    move |call| {
        let made = (call.target().kind, call.verb()) == ("namespaces", "create");
        let answer = match refusal {
            Some(message) => Answer::refusal(403, "Forbidden", message),
            None => Answer::willing(call),
        };
        made.then(|| Answer::Later(after, Box::new(answer)))
    }
}

/// The namespace of session `a` does not go for so long, because of a finalizer.
pub(crate) fn namespace_hangs_for(time: Duration) -> impl FnMut(&Call) -> Option<Answer> + Send + 'static {
    let began = Instant::now();
    let mut found = holds(
        "namespaces",
        json!([{
            "metadata": { "name": "kyanos-a", "uid": "n" },
            "status": { "conditions": [
                { "type": "NamespaceFinalizersRemaining", "status": "True", "message": "a finalizer remains" }
            ] },
        }]),
    );
    move |call| if began.elapsed() < time { found(call) } else { None }
}

/// A watch is ended because it asks for what is too old, once; the next one hears nothing.
pub(crate) fn watch_expires() -> impl FnMut(&Call) -> Option<Answer> + Send + 'static {
    first(1, |call| {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure",
            "reason": "Expired", "message": "too old resource version", "code": 410,
        });
        let event = json!({ "type": "ERROR", "object": status });
        call.is_watch().then(|| Answer::Text(format!("{event}\n")))
    })
}

/// Every container's log is this text.
pub(crate) fn logs(text: &'static str) -> impl FnMut(&Call) -> Option<Answer> + Send + 'static {
    move |call| (call.target().part == Some("log")).then(|| Answer::Text(text.to_owned()))
}

/// The hub of this name leads.
pub(crate) fn led_by(hub: &'static str) -> impl FnMut(&Call) -> Option<Answer> + Send + 'static {
    let lease = json!({ "metadata": { "name": "session" }, "spec": { "holderIdentity": hub } });
    holds("leases", json!([lease]))
}

/// The kubelet forwards no port, and says this.
pub(crate) fn kubelet_refuses(reason: &'static str) -> impl FnMut(&Call) -> Option<Answer> + Send + 'static {
    move |call| (call.target().part == Some("portforward")).then_some(Answer::NoPort(reason))
}

/// Gives a rule's answer so often, and none afterwards.
fn first(
    times: u32,
    mut rule: impl FnMut(&Call) -> Option<Answer> + Send + 'static,
) -> impl FnMut(&Call) -> Option<Answer> + Send + 'static {
    let mut left = times;
    move |call| {
        if left == 0 {
            return None;
        }
        let answer = rule(call)?;
        left -= 1;
        Some(answer)
    }
}

fn is_write(call: &Call, kind: &str) -> bool {
    call.target().kind == kind && call.method != Method::GET && call.method != Method::DELETE
}
