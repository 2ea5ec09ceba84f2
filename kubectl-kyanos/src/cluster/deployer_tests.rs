//! A user with the deployer's role can grant the hub what it needs.

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

#[test]
fn the_deployer_holds_everything_that_the_hub_is_granted() {
    let template = include_str!("../../../manifests/rbac.yaml");
    let plain = template.replace("{{ namespace }}", "kyanos-a").replace("{{ session | tojson }}", "a");
    let granted = triples(&plain);
    let held = triples(include_str!("../../../manifests/deployer.yaml"));
    assert!(granted.len() >= 15, "{granted:?}");
    for rule in granted {
        assert!(held.contains(&rule), "manifests/deployer.yaml lacks {rule:?}");
    }
}

#[test]
fn the_deployer_holds_everything_that_a_session_asks_for() {
    let held = triples(include_str!("../../../manifests/deployer.yaml"));
    for (group, resource, verbs, _) in super::preflight::NEEDED {
        for verb in verbs {
            let rule = (group.to_owned(), resource.to_owned(), (*verb).to_owned());
            assert!(held.contains(&rule), "manifests/deployer.yaml lacks {rule:?}");
        }
    }
}
