//! Which words a pod that does not come up is described by.

use serde_json::{Value, json};

use super::*;

fn pod(status: &Value) -> Pod {
    serde_json::from_value(json!({ "metadata": { "name": "p" }, "status": status })).expect("a pod")
}

fn container(state: &Value, last: &Value, restarts: i32) -> Pod {
    pod(&json!({ "containerStatuses": [{
        "name": "capturer", "image": "example.com/capturer:1", "imageID": "", "ready": false,
        "restartCount": restarts, "state": state, "lastState": last,
    }] }))
}

fn waiting(reason: &str, message: &str) -> Option<Trouble> {
    let state = json!({ "waiting": { "reason": reason, "message": message } });
    of(&container(&state, &json!({}), 0), "capturer")
}

#[test]
fn a_pod_that_starts_or_runs_has_no_trouble() {
    assert_eq!(of(&pod(&json!({})), "capturer"), None);
    assert_eq!(waiting("ContainerCreating", ""), None);
    assert_eq!(of(&container(&json!({ "running": {} }), &json!({}), 0), "capturer"), None);
    // It ran before, and runs again.
    let ended = json!({ "terminated": { "exitCode": 1 } });
    assert_eq!(of(&container(&json!({ "running": {} }), &ended, 5), "capturer"), None);
    // Another container's trouble is not this one's.
    assert_eq!(
        of(&container(&json!({ "waiting": { "reason": "ErrImagePull" } }), &json!({}), 0), "store"),
        None
    );
}

#[test]
fn an_image_that_is_not_there_is_final_once_the_kubelet_gave_up_and_says_what_the_registry_said() {
    let said = "Back-off pulling image \"example.com/capturer:1\": ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image \"example.com/capturer:1\": failed to resolve reference \"example.com/capturer:1\": example.com/capturer:1: not found";
    let trouble = waiting("ImagePullBackOff", said).expect("trouble");
    assert!(trouble.is_final());
    assert_eq!(
        trouble.line(),
        "image `example.com/capturer:1` cannot be pulled: failed to resolve reference \"example.com/capturer:1\": example.com/capturer:1: not found"
    );
    assert!(trouble.hint().contains("--image-pull-secret"));
    let passing = waiting("ErrImagePull", "dial tcp: i/o timeout").expect("trouble");
    assert!(!passing.is_final());
    assert!(passing.line().contains("i/o timeout"));
    let old =
        waiting("ImagePullBackOff", "Back-off pulling image \"example.com/capturer:1\"").expect("trouble");
    assert_eq!(old.line(), "image `example.com/capturer:1` cannot be pulled (ImagePullBackOff)");
    let never = waiting("ErrImageNeverPull", "Container image is not present with pull policy of Never");
    assert!(never.expect("trouble").is_final());
}

#[test]
fn a_crash_is_final_when_it_repeats() {
    let ended = json!({ "terminated": { "exitCode": 1, "reason": "Error" } });
    let once = of(&container(&ended, &json!({}), 0), "capturer").expect("trouble");
    assert!(!once.is_final());
    assert_eq!(once.line(), "it ended with exit code 1");
    let often = of(&container(&ended, &ended, CRASH_RESTARTS), "capturer").expect("trouble");
    assert!(often.is_final());
    let state = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off" } });
    let killed = json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } });
    let looping = of(&container(&state, &killed, 1), "capturer").expect("trouble");
    assert!(looping.is_final());
    assert_eq!(looping.line(), "it ended (OOMKilled, exit code 137)");
    assert!(matches!(looping, Trouble::Crashed { previous: true, .. }));
    let no_start =
        json!({ "terminated": { "exitCode": 128, "reason": "StartError", "message": "exec: not\n found" } });
    let no_start = of(&container(&no_start, &json!({}), 0), "capturer").expect("trouble");
    assert_eq!(no_start.line(), "it ended (StartError, exit code 128): exec: not found");
}

#[test]
fn scheduling_and_eviction_speak_for_themselves() {
    let refused = json!({ "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/3 nodes are available:\n3 Insufficient memory.",
    }] });
    let trouble = of(&pod(&refused), "hub").expect("trouble");
    assert_eq!(trouble.line(), "cannot be scheduled: 0/3 nodes are available: 3 Insufficient memory.");
    assert!(!trouble.is_final());
    let evicted = json!({ "phase": "Failed", "reason": "Evicted", "message": "Usage of EmptyDir volume \"data\" exceeds the limit" });
    let trouble = of(&pod(&evicted), "hub").expect("trouble");
    assert!(trouble.is_final());
    assert!(trouble.line().contains("exceeds the limit"));
}

#[test]
fn a_pod_names_its_node_before_it_is_on_it() {
    let waits: Pod =
        serde_json::from_value(json!({ "metadata": {}, "spec": { "containers": [], "affinity": {
        "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
            { "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["n2"] }] },
        ] } },
    } } }))
        .expect("a pod");
    assert_eq!(node(&waits), Some("n2"));
    let placed: Pod =
        serde_json::from_value(json!({ "metadata": {}, "spec": { "containers": [], "nodeName": "n1" } }))
            .expect("a pod");
    assert_eq!(node(&placed), Some("n1"));
}

#[test]
fn the_last_line_of_a_log_is_the_reason() {
    let json = "{\"level\":\"INFO\",\"fields\":{\"message\":\"starting\"}}\n{\"level\":\"ERROR\",\"fields\":{\"message\":\"cannot start\",\"error\":\"kernel has no BTF\"}}\n\n";
    assert_eq!(last_words(json).as_deref(), Some("cannot start: kernel has no BTF"));
    assert_eq!(last_words("a\nError: no such file\n").as_deref(), Some("Error: no such file"));
    assert_eq!(last_words("{\"x\":1}").as_deref(), Some("{\"x\":1}"));
    assert_eq!(last_words("\n"), None);
}

#[test]
fn reasons_are_one_line_of_bearable_length() {
    let long = "ä\n".repeat(MAX_REASON);
    let line = one_line(&long);
    assert_eq!(line.chars().count(), MAX_REASON + 1);
    assert!(line.ends_with('…') && !line.contains('\n'));
    assert_eq!(one_line("a  b\n"), "a b");
}
