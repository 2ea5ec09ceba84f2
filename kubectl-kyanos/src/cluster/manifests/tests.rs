//! Every template renders to objects that Kubernetes knows.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::jiff::Timestamp;
use proto::launch::CAPTURE_ENDED_ANNOTATION;
use serde::de::DeserializeOwned;

use super::*;
use crate::cli::values::PullSecret;
use crate::cluster::request::Images;
use crate::cluster::sessions::Life;

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

#[test]
fn what_waits_for_the_store_has_a_volume_twice_as_large_as_the_hub_fills_it() {
    for request in [request(), full()] {
        let values = Values::new(&request, "jane").expect("values");
        let hub: Deployment = parsed(&render(&values, Part::Hub).expect("rendered")[0]);
        let pod = hub.spec.and_then(|spec| spec.template.spec).expect("a pod");
        let mounts = pod.containers[0].volume_mounts.clone().unwrap_or_default();
        let mount = mounts.iter().find(|mount| mount.mount_path == proto::launch::SPOOL_FOLDER);
        let name = &mount.expect("the folder is mounted").name;
        let volumes = pod.volumes.unwrap_or_default();
        let volume = volumes.iter().find(|volume| volume.name == *name).expect("the volume");
        let size = volume.empty_dir.as_ref().and_then(|volume| volume.size_limit.clone()).expect("a limit");
        assert_eq!(size.0, "1Gi");
        assert_eq!(hub::store::SPOOL_BYTES * 2, 1 << 30);
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

/// The egress rules of a NetworkPolicy, each as its peers and ports; `None` where all is open.
fn egress(values: &Values, name: &str) -> Option<Vec<String>> {
    let policies = render(values, Part::NetworkPolicy).expect("objects");
    let policy =
        policies.iter().find(|policy| policy.metadata.name.as_deref() == Some(name)).expect("a policy");
    let policy: NetworkPolicy = parsed(policy);
    let spec = policy.spec.expect("a spec");
    let types = spec.policy_types.expect("types");
    assert!(types.contains(&"Ingress".to_owned()), "{name}");
    let rules = spec.egress.unwrap_or_default();
    if !types.contains(&"Egress".to_owned()) {
        assert!(rules.is_empty(), "rules that nothing keeps");
        return None;
    }
    let told = |rule: k8s_openapi::api::networking::v1::NetworkPolicyEgressRule| {
        let to = rule.to.unwrap_or_default().into_iter().map(|peer| match peer.pod_selector {
            Some(pods) => pods.match_labels.unwrap_or_default()["app.kubernetes.io/component"].clone(),
            None => "pods".to_owned(),
        });
        let ports = rule.ports.unwrap_or_default().into_iter().map(|port| {
            let number = serde_json::to_string(&port.port).expect("a port");
            format!("{} {number}", port.protocol.unwrap_or_default())
        });
        to.chain(ports).collect::<Vec<_>>().join(",")
    };
    Some(rules.into_iter().map(told).collect())
}

#[test]
fn ways_out_are_those_that_are_needed() {
    let mut values = Values::new(&request(), "me").expect("values");
    assert_eq!(egress(&values, "hub"), None, "of an API server whose ports nobody knows nothing is cut");
    assert_eq!(egress(&values, "capturer").expect("closed"), ["hub,TCP 7440"]);
    values.api_ports = vec![443, 6443];
    assert_eq!(egress(&values, "hub").expect("closed"), ["TCP 443,TCP 6443", "hub,TCP 7440"]);
    values.store_ports = vec![3306, 4000];
    let to_store = egress(&values, "hub").expect("closed");
    assert_eq!(to_store[2..], ["TCP 3306,TCP 4000", "pods"]);
    values.store_by_name = true;
    let by_name = egress(&values, "hub").expect("closed");
    assert_eq!(by_name[4], "UDP 53,TCP 53,UDP 5353,TCP 5353");
}

#[test]
fn a_namespace_says_whether_its_session_is_kept_as_status_reads_it() {
    let ended = (CAPTURE_ENDED_ANNOTATION.to_owned(), Timestamp::now().to_string());
    let mut lease = Lease::default();
    lease.metadata.annotations = Some([ended].into());
    for (request, kept) in [(full(), true), (request(), false)] {
        let namespace: Namespace = one(&request, Part::Namespace);
        let life = Life::of(&namespace, Some(&lease), true);
        assert_eq!(matches!(life, Life::Kept(_)), kept, "{:?}", namespace.metadata.annotations);
    }
}

#[test]
fn no_manifest_writes_a_truth_as_the_template_engine_would() {
    let values = Values::new(&full(), "me").expect("values");
    for (part, _) in PARTS {
        let text = serde_json::to_string(&render(&values, part).expect("objects")).expect("JSON");
        assert!(!text.contains("\"True\"") && !text.contains("\"False\""), "{part:?}: {text}");
    }
}

#[test]
fn a_hub_of_a_large_cluster_may_take_more() {
    // Nodes, and the bytes that the simulation of such a cluster found.
    for (nodes, found) in [(100, 40 << 20), (1_000, 170 << 20), (5_000, 744_u64 << 20)] {
        assert!(hub_memory(nodes) >= found * 2, "{nodes}");
        let mut values = Values::new(&request(), "me").expect("values");
        values.hub_memory = hub_memory(nodes);
        let hub: Deployment = parsed(&render(&values, Part::Hub).expect("objects")[0]);
        let containers = hub.spec.and_then(|spec| spec.template.spec).expect("a pod").containers;
        let limits = containers[0].resources.as_ref().and_then(|resources| resources.limits.clone());
        assert_eq!(limits.expect("limits")["memory"].0, hub_memory(nodes).to_string());
    }
    assert_eq!(hub_memory(0), 256 << 20);
}

#[test]
fn on_openshift_no_pod_of_the_hub_names_a_seccomp_profile() {
    let mut values = Values::new(&full(), "me").expect("values");
    let names = |values: &Values| {
        let objects = render(values, Part::Hub).expect("objects");
        serde_json::to_string(&objects).expect("JSON").matches("seccompProfile").count()
    };
    let request = request();
    assert_eq!(names(&Values::new(&request, "me").expect("values")), 2, "the hub's and the store's");
    values.platform = Platform::OpenShift;
    assert_eq!(names(&values), 0);
    let mut own = Values::new(&request, "me").expect("values");
    own.platform = Platform::OpenShift;
    assert_eq!(names(&own), 0);
}

#[test]
fn the_store_keeps_no_right_that_it_does_not_need() {
    let hub: Deployment = one(&request(), Part::Hub);
    let pod = hub.spec.and_then(|spec| spec.template.spec).expect("a pod");
    let store = pod.containers.iter().find(|container| container.name == "store").expect("a store");
    let context = store.security_context.as_ref().expect("a context");
    assert_eq!(context.allow_privilege_escalation, Some(false));
    assert_eq!(
        context.seccomp_profile.as_ref().map(|profile| profile.type_.as_str()),
        Some("RuntimeDefault")
    );
    let capabilities = context.capabilities.as_ref().expect("capabilities");
    assert_eq!(capabilities.add, None);
    // What container runtimes give, as their documents list it.
    let given = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    let dropped = capabilities.drop.as_ref().expect("dropped");
    let left: Vec<_> = given.into_iter().filter(|each| !dropped.contains(&(*each).to_owned())).collect();
    assert_eq!(left, ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"]);
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
    assert_eq!(kinds.len(), 18, "{kinds:?}");
    assert!(text.contains(GENERATED));
}

/// Fields whose value is a map with keys of anybody's choice.
const MAPS: [&str; 9] = [
    "labels",
    "annotations",
    "matchLabels",
    "nodeSelector",
    "stringData",
    "data",
    "requests",
    "limits",
    "spec.selector",
];

/// Adds the path of every field of an object; `kind` is its line's beginning.
fn fields(kind: &str, path: &str, value: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
    let name = path.rsplit('.').next().unwrap_or_default().trim_end_matches("[]");
    // A Service's selector is a map, a workload's is an object.
    let is_map = MAPS.contains(&name) || (kind.ends_with(" Service") && MAPS.contains(&path));
    match value {
        serde_json::Value::Object(map) if !is_map && !map.is_empty() => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                fields(kind, &path, value, found);
            }
        }
        serde_json::Value::Array(list) if list.iter().any(serde_json::Value::is_object) => {
            for value in list {
                fields(kind, &format!("{path}[]"), value, found);
            }
        }
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_) => drop(found.insert(format!("write {kind} {path}"))),
    }
}

#[test]
fn every_field_that_is_written_is_in_the_table_of_the_api() {
    const MARK: &str = "# Fields of what is made.\n";
    let mut objects = Vec::new();
    for request in [request(), full(), Request { capabilities_only: true, store_limit: 0, ..request() }] {
        let mut values = Values::new(&request, "me").expect("values");
        for ports in [Vec::new(), vec![443]] {
            (values.api_ports, values.store_ports, values.store_by_name) = (ports.clone(), ports, true);
            for (part, _) in PARTS {
                let rendered = render(&values, part).expect("objects");
                objects.extend(rendered.iter().map(|object| serde_json::to_value(object).expect("JSON")));
            }
        }
    }
    let files = [
        include_str!("../../../../manifests/deployer.yaml"),
        include_str!("../../../../manifests/deployer-narrow.yaml"),
    ];
    for document in files.into_iter().flat_map(serde_yaml_ng::Deserializer::from_str) {
        objects.push(serde_json::Value::deserialize(document).expect("YAML"));
    }
    let mut found = std::collections::BTreeSet::new();
    for object in objects {
        let version = object["apiVersion"].as_str().expect("a version");
        let version = if version.contains('/') { version.to_owned() } else { format!("core/{version}") };
        fields(&format!("{version} {}", object["kind"].as_str().expect("a kind")), "", &object, &mut found);
    }
    let made = found.iter().fold(String::new(), |made, line| made + line + "\n");
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kubernetes-api.txt");
    let table = std::fs::read_to_string(&file).expect("the table");
    let (before, known) = table.split_once(MARK).expect("the mark");
    if std::env::var_os("KYANOS_BLESS").is_some() {
        std::fs::write(&file, format!("{before}{MARK}{made}")).expect("written");
        return;
    }
    assert_eq!(known, made, "docs/kubernetes-api.txt differs; bless with KYANOS_BLESS=1");
}
