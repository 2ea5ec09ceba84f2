//! Every template renders to objects that Kubernetes knows.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde::de::DeserializeOwned;

use super::*;
use crate::cli::values::PullSecret;
use crate::cluster::request::Images;

fn request() -> Request {
    Request {
        name: "abcde".to_owned(),
        images: Images {
            hub: "example.com/kyanos/hub:1".to_owned(),
            capturer: "example.com/kyanos/capturer:1".to_owned(),
            store: "docker.io/library/mysql:8.4".to_owned(),
        },
        hub_replicas: 1,
        own_store: true,
        store_limit: 2 << 30,
        timeout: Duration::from_mins(2),
        ..Request::default()
    }
}

fn full() -> Request {
    Request {
        // A name that YAML would take for a number.
        name: "1e5".to_owned(),
        pull_policy: Some("Never".to_owned()),
        pull_secret: Some(PullSecret { namespace: None, name: "registry".to_owned() }),
        node_selector: Some("pool in (a,b),!spot".to_owned()),
        nodes: vec!["n1".to_owned(), "n2".to_owned()],
        capabilities_only: true,
        hub_replicas: 3,
        own_store: false,
        keep: true,
        ttl: Duration::from_hours(1),
        ..request()
    }
}

fn parsed<K: DeserializeOwned + Serialize>(object: &DynamicObject) -> K {
    let given = serde_json::to_value(object).expect("a value");
    let typed: K = serde_json::from_value(given.clone()).expect("an object of its kind");
    // A field that the type does not know is a typing error or newer than the oldest version that is served.
    let read = serde_json::to_value(&typed).expect("a value");
    assert_eq!(read, given, "{:?}", object.types);
    typed
}

fn check(object: &DynamicObject) {
    match object.types.as_ref().expect("a type").kind.as_str() {
        "Namespace" => drop(parsed::<Namespace>(object)),
        "Job" => drop(parsed::<Job>(object)),
        "Service" => drop(parsed::<Service>(object)),
        "Secret" => drop(parsed::<Secret>(object)),
        "ServiceAccount" => drop(parsed::<ServiceAccount>(object)),
        "Role" => drop(parsed::<Role>(object)),
        "RoleBinding" => drop(parsed::<RoleBinding>(object)),
        "ClusterRole" => drop(parsed::<ClusterRole>(object)),
        "ClusterRoleBinding" => drop(parsed::<ClusterRoleBinding>(object)),
        "NetworkPolicy" => drop(parsed::<NetworkPolicy>(object)),
        "Lease" => drop(parsed::<Lease>(object)),
        "Deployment" => drop(parsed::<Deployment>(object)),
        "DaemonSet" => drop(parsed::<DaemonSet>(object)),
        other => panic!("a {other} that nothing tests"),
    }
}

fn one<K: DeserializeOwned + Serialize>(request: &Request, part: Part) -> K {
    let objects = render(&Values::new(request, "me").expect("values"), part).expect("objects");
    assert_eq!(objects.len(), 1);
    parsed(&objects[0])
}

#[test]
fn every_document_is_an_object_of_its_kind_with_our_labels() {
    for request in [request(), full()] {
        let values = Values::new(&request, "jane \"x\": y").expect("values");
        for (part, _) in PARTS {
            let objects = render(&values, part).expect("objects");
            assert!(!objects.is_empty(), "{part:?}");
            for object in objects {
                check(&object);
                let labels = object.metadata.labels.clone().unwrap_or_default();
                assert_eq!(labels.get(super::super::names::SESSION_LABEL), Some(&request.name), "{part:?}");
                let managed = labels.get(super::super::names::MANAGED_BY.0).map(String::as_str);
                assert_eq!(managed, Some(super::super::names::MANAGED_BY.1));
                let namespace = object.metadata.namespace.or(object.metadata.name);
                assert_eq!(namespace, Some(values.namespace.clone()), "{part:?}");
            }
        }
    }
}

#[test]
fn named_nodes_are_alternatives_that_each_keep_all_requirements() {
    let set: DaemonSet = one(&full(), Part::Capturer);
    let pod = set.spec.and_then(|spec| spec.template.spec).expect("a pod");
    let affinity = pod.affinity.and_then(|affinity| affinity.node_affinity).expect("node affinity");
    let terms =
        affinity.required_during_scheduling_ignored_during_execution.expect("terms").node_selector_terms;
    let nodes: Vec<_> = terms
        .iter()
        .map(|term| {
            let keys: Vec<_> =
                term.match_expressions.iter().flatten().map(|each| each.key.as_str()).collect();
            assert_eq!(
                keys,
                ["kubernetes.io/arch", "type", "eks.amazonaws.com/compute-type", "pool", "spot"]
            );
            term.match_fields.as_ref().and_then(|fields| fields[0].values.clone()).expect("a node")
        })
        .collect();
    assert_eq!(nodes, [["n1"], ["n2"]]);
    assert_eq!(pod.image_pull_secrets.expect("pull secrets")[0].name, "pull");
    let context = pod.containers[0].security_context.clone().expect("a context");
    assert_eq!(context.privileged, None);
}

#[test]
fn all_nodes_are_one_term() {
    let set: DaemonSet = one(&request(), Part::Capturer);
    let text = serde_json::to_string(&set).expect("text");
    assert_eq!(text.matches("matchExpressions").count(), 1);
    assert!(!text.contains("matchFields"));
    assert!(text.contains(r#""privileged":true"#));
}

#[test]
fn the_store_is_beside_the_hub_only_where_it_is_the_sessions_own() {
    let hub: Deployment = one(&request(), Part::Hub);
    let pod = hub.spec.and_then(|spec| spec.template.spec).expect("a pod");
    assert_eq!(pod.containers.len(), 2);
    let data = pod.volumes.iter().flatten().find(|volume| volume.name == "data").expect("a volume");
    let limit = data.empty_dir.as_ref().and_then(|volume| volume.size_limit.clone()).expect("a limit");
    assert_eq!(limit.0, ((4_u64 << 30) + STORE_OVERHEAD).to_string());
    let hub: Deployment = one(&full(), Part::Hub);
    let pod = hub.spec.and_then(|spec| spec.template.spec).expect("a pod");
    assert_eq!(pod.containers.len(), 1);
}

#[test]
fn a_store_without_a_limit_has_a_volume_without_one() {
    let hub: Deployment = one(&Request { store_limit: 0, ..request() }, Part::Hub);
    let text = serde_json::to_string(&hub).expect("text");
    assert!(text.contains(r#"{"emptyDir":{},"name":"data"}"#), "{text}");
}

#[test]
fn what_is_printed_is_yaml_without_secrets() {
    let values = Values::new(&full(), "me").expect("values");
    let text = print(&values).expect("text");
    let kinds: Vec<String> = serde_yaml_ng::Deserializer::from_str(&text)
        .map(|document| {
            let value = serde_json::Value::deserialize(document).expect("YAML");
            value["kind"].as_str().expect("a kind").to_owned()
        })
        .collect();
    assert_eq!(kinds.first().map(String::as_str), Some("Namespace"));
    assert_eq!(kinds.last().map(String::as_str), Some("DaemonSet"));
    assert_eq!(kinds.len(), 17, "{kinds:?}");
    assert!(text.contains(GENERATED));
}
