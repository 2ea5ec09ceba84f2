//! A user with the deployer's role can run sessions and grant the hub what it needs, and no more.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_yaml_ng::{Deserializer, Value};

fn triples(text: &str) -> Vec<Right> {
    let mut found = Vec::new();
    for document in Deserializer::from_str(text) {
        let value = Value::deserialize(document).expect("YAML");
        for rule in value["rules"].as_sequence().into_iter().flatten() {
            let words = |key: &str| -> Vec<String> {
                let words = rule[key].as_sequence().expect(key).iter();
                words.map(|word| word.as_str().expect(key).to_owned()).collect()
            };
            for group in words("apiGroups") {
                for resource in words("resources") {
                    found.extend(
                        words("verbs").into_iter().map(|verb| (group.clone(), resource.clone(), verb)),
                    );
                }
            }
        }
    }
    found
}

/// What a session uses where it may and does without where it may not: reasons of failures, whether the workloads that
/// are named are there, and Secrets, of those who join it or pull images with one.
const ENRICHES: [(&str, &str, &str); 6] = [
    ("", "secrets", "get"),
    ("", "pods/log", "get"),
    ("", "events", "list"),
    ("", "replicationcontrollers", "list"),
    ("apps", "statefulsets", "list"),
    ("batch", "cronjobs", "list"),
];

type Right = (String, String, String);

/// What a session cannot do without, with what the hub is granted.
fn needed() -> BTreeSet<Right> {
    let template = include_str!("../../../manifests/rbac.yaml");
    let plain = template.replace("{{ namespace }}", "kyanos-a").replace("{{ session | tojson }}", "a");
    let granted = triples(&plain);
    assert!(granted.len() >= 15, "{granted:?}");
    let asked = super::preflight::NEEDED_RIGHTS
        .iter()
        .flat_map(|(group, resource, verbs, _)| verbs.iter().map(move |verb| (*group, *resource, *verb)));
    asked.map(owned).chain(granted).collect()
}

fn owned((group, resource, verb): (&str, &str, &str)) -> Right {
    (group.to_owned(), resource.to_owned(), verb.to_owned())
}

#[test]
fn the_deployer_holds_what_a_session_asks_for_and_the_hub_is_granted_and_nothing_else() {
    let needed: BTreeSet<Right> = needed().into_iter().chain(ENRICHES.map(owned)).collect();
    let held: BTreeSet<_> = triples(include_str!("../../../manifests/deployer.yaml")).into_iter().collect();
    let lacks: Vec<_> = needed.difference(&held).collect();
    let unused: Vec<_> = held.difference(&needed).collect();
    assert!(lacks.is_empty() && unused.is_empty(), "deployer.yaml lacks {lacks:?}, does not need {unused:?}");
}

#[test]
fn the_deployer_may_look_for_every_kind_of_workload_that_is_named() {
    let held: BTreeSet<_> = triples(include_str!("../../../manifests/deployer.yaml")).into_iter().collect();
    for kind in proto::filter::WORKLOAD_KINDS {
        let right = (kind.group.to_owned(), kind.plural.to_owned(), "list".to_owned());
        assert!(held.contains(&right), "{right:?}");
    }
}

const NARROW: &str = include_str!("../../../manifests/deployer-narrow.yaml");

/// The objects of a kind.
fn of_kind(text: &str, kind: &str) -> Vec<Value> {
    let documents = Deserializer::from_str(text).map(|document| Value::deserialize(document).expect("YAML"));
    documents.filter(|value| value["kind"] == kind).collect()
}

/// Reads an object as the API's own type knows it, and fails where that drops a field.
fn typed<K: serde::de::DeserializeOwned + serde::Serialize>(value: &Value) -> K {
    let given = serde_json::to_value(value).expect("JSON");
    let typed: K = serde_json::from_value(given.clone()).expect("an object of its kind");
    assert_eq!(serde_json::to_value(&typed).expect("JSON"), given);
    typed
}

#[test]
fn the_narrow_deployer_holds_what_a_session_cannot_do_without_and_acts_as_one_account() {
    let mut held: BTreeSet<_> = triples(NARROW).into_iter().collect();
    assert!(held.remove(&owned(("", "serviceaccounts", "impersonate"))), "{held:?}");
    let needed = needed();
    let lacks: Vec<_> = needed.difference(&held).collect();
    let unused: Vec<_> = held.difference(&needed).collect();
    assert!(lacks.is_empty() && unused.is_empty(), "it lacks {lacks:?}, does not need {unused:?}");
    assert!(!held.iter().any(|(_, resource, verb)| resource == "secrets" && verb == "get"));
    // Acting as an account is a right in its namespace alone, on that account alone.
    let role = &of_kind(NARROW, "Role")[0];
    assert_eq!(role["metadata"]["namespace"], "shop");
    assert_eq!(role["rules"][0]["resourceNames"][0], "kyanos");
}

#[test]
fn the_narrow_deployers_policy_looks_at_every_write_and_denies() {
    use k8s_openapi::api::admissionregistration::v1::{
        ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
    };
    let policy: ValidatingAdmissionPolicy = typed(&of_kind(NARROW, "ValidatingAdmissionPolicy")[0]);
    let binding: ValidatingAdmissionPolicyBinding =
        typed(&of_kind(NARROW, "ValidatingAdmissionPolicyBinding")[0]);
    let binding = binding.spec.expect("a spec");
    assert_eq!(binding.policy_name, policy.metadata.name);
    assert_eq!(binding.validation_actions.expect("actions"), ["Deny"]);
    assert_eq!(binding.match_resources, None, "everywhere");
    let spec = policy.spec.expect("a spec");
    assert_eq!(spec.failure_policy.as_deref(), Some("Fail"));
    let rules = spec.match_constraints.and_then(|constraints| constraints.resource_rules).expect("rules");
    assert_eq!(rules.len(), 1);
    assert_eq!(
        rules[0].operations.as_deref().expect("operations"),
        ["CREATE", "UPDATE", "DELETE", "CONNECT"]
    );
    assert_eq!(rules[0].resources.as_deref().expect("resources"), ["*/*"]);
    // It is about the account that the role is bound to, and says what to do.
    let account = &of_kind(NARROW, "ClusterRoleBinding")[0]["subjects"][0];
    let user = format!(
        "system:serviceaccount:{}:{}",
        account["namespace"].as_str().expect("a namespace"),
        account["name"].as_str().expect("a name")
    );
    let conditions = spec.match_conditions.expect("conditions");
    assert!(conditions[0].expression.contains(&format!("'{user}'")), "{}", conditions[0].expression);
    let validations = spec.validations.expect("validations");
    assert!(validations.len() >= 7);
    assert!(validations.iter().all(|validation| validation.message.is_some()));
}

#[test]
fn the_table_of_the_api_has_the_requests_that_roles_allow() {
    let table = include_str!("../../../docs/kubernetes-api.txt");
    let asked: BTreeSet<&str> = table.lines().filter(|line| line.starts_with("ask ")).collect();
    let mut allowed = BTreeSet::from([
        "ask authentication.k8s.io/v1 selfsubjectreviews create".to_owned(),
        "ask authorization.k8s.io/v1 selfsubjectaccessreviews create".to_owned(),
    ]);
    for (group, resource, verb) in triples(include_str!("../../../manifests/deployer.yaml")) {
        let group = if group.is_empty() { "core".to_owned() } else { group };
        allowed.insert(format!("ask {group}/v1 {resource} {verb}"));
    }
    assert_eq!(asked, allowed.iter().map(String::as_str).collect());
}
