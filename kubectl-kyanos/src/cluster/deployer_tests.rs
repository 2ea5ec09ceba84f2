//! A user with the deployer's role can run sessions and grant the hub what it needs, and no more.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_yaml_ng::{Deserializer, Value};

fn triples(text: &str) -> Vec<(String, String, String)> {
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

/// What a session uses where it may and does without where it may not: reasons of failures.
const ENRICHES: [(&str, &str, &str); 2] = [("", "pods/log", "get"), ("", "events", "list")];

#[test]
fn the_deployer_holds_what_a_session_asks_for_and_the_hub_is_granted_and_nothing_else() {
    let template = include_str!("../../../manifests/rbac.yaml");
    let plain = template.replace("{{ namespace }}", "kyanos-a").replace("{{ session | tojson }}", "a");
    let granted = triples(&plain);
    assert!(granted.len() >= 15, "{granted:?}");
    let asked = super::preflight::NEEDED_RIGHTS
        .iter()
        .flat_map(|(group, resource, verbs, _)| verbs.iter().map(move |verb| (*group, *resource, *verb)));
    let owned = |(group, resource, verb): (&str, &str, &str)| {
        (group.to_owned(), resource.to_owned(), verb.to_owned())
    };
    let needed: BTreeSet<_> = asked.chain(ENRICHES).map(owned).chain(granted).collect();
    let held: BTreeSet<_> = triples(include_str!("../../../manifests/deployer.yaml")).into_iter().collect();
    let lacks: Vec<_> = needed.difference(&held).collect();
    let unused: Vec<_> = held.difference(&needed).collect();
    assert!(lacks.is_empty() && unused.is_empty(), "deployer.yaml lacks {lacks:?}, does not need {unused:?}");
}
