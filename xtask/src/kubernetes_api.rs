//! Looks for what the product uses of the Kubernetes API in the OpenAPI documents that Kubernetes publishes.
//!
//! A document is `api/openapi-spec/swagger.json` of a release's branch. None is in this repository.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::workspace;

/// The table of what is used.
const TABLE: &str = "docs/kubernetes-api.txt";

/// Longest chain of references that is followed for one field; real ones have two.
const MAX_REFERENCES: usize = 8;

/// Which documents.
#[derive(Debug, clap::Args)]
pub struct ApiOptions {
    /// OpenAPI documents (version 2), one for each release.
    #[arg(required = true)]
    documents: Vec<PathBuf>,
}

/// What one line of the table asks for.
#[derive(Debug, PartialEq, Eq)]
enum Used<'a> {
    /// A field of a kind.
    Field { group: &'a str, version: &'a str, kind: &'a str, path: &'a str },
    /// A verb on a resource.
    Verb { group: &'a str, version: &'a str, resource: &'a str, verb: &'a str },
}

/// Looks for each line of the table in each document, and prints what is not there.
pub fn run(options: &ApiOptions) -> Result<ExitCode> {
    let table = std::fs::read_to_string(workspace::root().join(TABLE)).context("reading the table")?;
    let used = read(&table)?;
    let mut whole = true;
    for path in &options.documents {
        let document = document(path)?;
        let absent: Vec<String> =
            used.iter().filter(|used| !is_there(&document, used)).map(|used| format!("{used:?}")).collect();
        println!("{}: {} of {} are there", path.display(), used.len() - absent.len(), used.len());
        for line in &absent {
            println!("  absent: {line}");
        }
        whole &= absent.is_empty();
    }
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn document(path: &Path) -> Result<Value> {
    let text = std::fs::read(path).with_context(|| format!("reading `{}`", path.display()))?;
    let document: Value =
        serde_json::from_slice(&text).with_context(|| format!("`{}` is no JSON", path.display()))?;
    if document.get("definitions").is_none() || document.get("paths").is_none() {
        bail!("`{}` has no definitions and paths: it is no OpenAPI document of version 2", path.display());
    }
    Ok(document)
}

fn read(table: &str) -> Result<Vec<Used<'_>>> {
    let lines = table.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line_of(line).with_context(|| format!("`{line}` is no line of the table"))).collect()
}

fn line_of(line: &str) -> Option<Used<'_>> {
    let [how, place, what, last] = line.split_whitespace().collect::<Vec<_>>().try_into().ok()?;
    let (group, version) = place.split_once('/')?;
    match how {
        "read" | "write" => Some(Used::Field { group, version, kind: what, path: last }),
        "ask" => Some(Used::Verb { group, version, resource: what, verb: last }),
        _ => None,
    }
}

fn is_there(document: &Value, used: &Used<'_>) -> bool {
    match used {
        Used::Field { group, version, kind, path } => {
            kind_of(document, group, version, kind).is_some_and(|kind| has(document, kind, path))
        }
        Used::Verb { group, version, resource, verb } => serves(document, group, version, resource, verb),
    }
}

/// Finds the definition of a kind; the core group has no name.
fn kind_of<'a>(document: &'a Value, group: &str, version: &str, kind: &str) -> Option<&'a Value> {
    let group = if group == "core" { "" } else { group };
    document.get("definitions")?.as_object()?.values().find(|definition| {
        let kinds = definition.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
        kinds.is_some_and(|kinds| {
            kinds.len() == 1
                && kinds[0]["group"] == group
                && kinds[0]["version"] == version
                && kinds[0]["kind"] == kind
        })
    })
}

/// Follows a path such as `spec.containers[].name`; a map's keys are free.
fn has(document: &Value, kind: &Value, path: &str) -> bool {
    let mut at = kind;
    for part in path.split('.') {
        let (name, list) = part.strip_suffix("[]").map_or((part, false), |name| (name, true));
        let Some(next) = resolved(document, at).and_then(|schema| schema.get("properties")?.get(name)) else {
            return false;
        };
        at = next;
        if list {
            let Some(items) = resolved(document, at).and_then(|schema| schema.get("items")) else {
                return false;
            };
            at = items;
        }
    }
    resolved(document, at).is_some()
}

fn resolved<'a>(document: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    let mut at = schema;
    for _ in 0..MAX_REFERENCES {
        let Some(reference) = at.get("$ref").and_then(Value::as_str) else { return Some(at) };
        at = document.get("definitions")?.get(reference.rsplit('/').next()?)?;
    }
    None
}

/// Whether a verb of RBAC can be used on a resource or a part of one, `pods/log`.
fn serves(document: &Value, group: &str, version: &str, resource: &str, verb: &str) -> bool {
    let root = if group == "core" { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    let (kind, part) = resource.split_once('/').map_or((resource, None), |(kind, part)| (kind, Some(part)));
    let named = part.map_or_else(|| format!("{kind}/{{name}}"), |part| format!("{kind}/{{name}}/{part}"));
    let (path, method) = match verb {
        // One path opens a connection by either method.
        "get" => (named, "get"),
        "create" if part.is_some() => (named, "post"),
        "patch" => (named, "patch"),
        "update" => (named, "put"),
        "delete" => (named, "delete"),
        "create" => (kind.to_owned(), "post"),
        "list" | "watch" => (kind.to_owned(), "get"),
        "deletecollection" => (kind.to_owned(), "delete"),
        _ => return false,
    };
    let paths = document.get("paths");
    let served = |path: String| paths.and_then(|paths| paths.get(path)?.get(method)).is_some();
    served(format!("{root}/{path}")) || served(format!("{root}/namespaces/{{namespace}}/{path}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A document in the form of those that are published, with one kind.
    fn small() -> Value {
        json!({
            "definitions": {
                "io.k8s.api.apps.v1.DaemonSet": {
                    "properties": { "spec": { "$ref": "#/definitions/io.k8s.api.apps.v1.DaemonSetSpec" } },
                    "x-kubernetes-group-version-kind": [{ "group": "apps", "version": "v1", "kind": "DaemonSet" }],
                },
                "io.k8s.api.apps.v1.DaemonSetSpec": { "properties": {
                    "labels": { "type": "object", "additionalProperties": { "type": "string" } },
                    "containers": { "type": "array", "items": { "$ref": "#/definitions/Container" } },
                    "loop": { "$ref": "#/definitions/Loop" },
                } },
                "Container": { "properties": { "name": { "type": "string" } } },
                "Loop": { "$ref": "#/definitions/Loop" },
            },
            "paths": {
                "/apis/apps/v1/daemonsets": { "get": {} },
                "/apis/apps/v1/namespaces/{namespace}/daemonsets": { "get": {}, "post": {}, "delete": {} },
                "/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}": { "get": {}, "patch": {} },
                "/api/v1/namespaces/{namespace}/pods/{name}/log": { "get": {} },
                "/api/v1/namespaces/{namespace}/pods/{name}/portforward": { "get": {}, "post": {} },
            },
        })
    }

    fn there(line: &str) -> bool {
        is_there(&small(), &line_of(line).expect(line))
    }

    #[test]
    fn fields_are_followed_through_references_and_lists() {
        for path in ["spec", "spec.labels", "spec.containers[].name", "spec.containers"] {
            assert!(there(&format!("read apps/v1 DaemonSet {path}")), "{path}");
        }
        for line in [
            "write apps/v1 DaemonSet spec.container",
            "write apps/v1 DaemonSet spec.containers.name",
            "write apps/v1 DaemonSet spec.containers[].image",
            "write apps/v1 DaemonSet spec.labels[]",
            "write apps/v1 DaemonSet spec.loop",
            "write apps/v1 Deployment spec",
            "write apps/v2 DaemonSet spec",
            "write core/v1 DaemonSet spec",
        ] {
            assert!(!there(line), "{line}");
        }
    }

    #[test]
    fn verbs_are_found_at_their_paths() {
        for line in [
            "ask apps/v1 daemonsets list",
            "ask apps/v1 daemonsets watch",
            "ask apps/v1 daemonsets create",
            "ask apps/v1 daemonsets patch",
            "ask apps/v1 daemonsets deletecollection",
            "ask core/v1 pods/log get",
            "ask core/v1 pods/portforward create",
        ] {
            assert!(there(line), "{line}");
        }
        for line in [
            "ask apps/v1 daemonsets update",
            "ask apps/v1 daemonsets delete",
            "ask core/v1 daemonsets list",
            "ask core/v1 pods list",
            "ask apps/v1 daemonsets bind",
        ] {
            assert!(!there(line), "{line}");
        }
    }

    #[test]
    fn the_table_can_be_read_and_is_no_short_one() {
        let table = std::fs::read_to_string(workspace::root().join(TABLE)).unwrap();
        let used = read(&table).unwrap();
        let fields = used.iter().filter(|used| matches!(used, Used::Field { .. })).count();
        assert!(fields > 250 && used.len() - fields > 60, "{fields} fields of {} lines", used.len());
        assert!(read("read apps/v1 DaemonSet").is_err() && read("see apps/v1 DaemonSet spec").is_err());
    }

    /// Modules of the API's types and the groups that they are of.
    const GROUPS: [(&str, &str); 10] = [
        ("admissionregistration", "admissionregistration.k8s.io"),
        ("apps", "apps"),
        ("authentication", "authentication.k8s.io"),
        ("authorization", "authorization.k8s.io"),
        ("batch", "batch"),
        ("coordination", "coordination.k8s.io"),
        ("core", "core"),
        ("discovery", "discovery.k8s.io"),
        ("networking", "networking.k8s.io"),
        ("rbac", "rbac.authorization.k8s.io"),
    ];

    /// Types that are parts of kinds: their fields stand in the lines of those.
    const PARTS: [&str; 10] = [
        "ContainerState",
        "ContainerStateTerminated",
        "ContainerStatus",
        "NetworkPolicyEgressRule",
        "NodeCondition",
        "NodeStatus",
        "NodeSystemInfo",
        "PodSpec",
        "ResourceAttributes",
        "SelfSubjectAccessReviewSpec",
    ];

    #[test]
    fn every_kind_that_is_imported_is_in_the_table() {
        let table = std::fs::read_to_string(workspace::root().join(TABLE)).unwrap();
        let import = regex::Regex::new(r"k8s_openapi::api::(\w+)::(\w+)::(?:\{([^}]*)\}|(\w+))").unwrap();
        let mut kinds = 0;
        let ours = |file: &&PathBuf| file.starts_with("kubectl-kyanos/src") || file.starts_with("hub/src");
        for file in workspace::tracked_files().unwrap().iter().filter(ours) {
            let Ok(text) = std::fs::read_to_string(workspace::root().join(file)) else { continue };
            for found in import.captures_iter(&text) {
                let (module, version) = (&found[1], &found[2]);
                let group = GROUPS.iter().find(|(known, _)| *known == module).map(|(_, group)| *group);
                let group = group.unwrap_or_else(|| panic!("group {module} of {}", file.display()));
                let names = found.get(3).or(found.get(4)).unwrap().as_str();
                for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                    let kind = name.split(" as ").next().unwrap();
                    if PARTS.contains(&kind) {
                        continue;
                    }
                    kinds += 1;
                    let of_kind = format!(" {group}/{version} {kind} ");
                    assert!(table.contains(&of_kind), "{}: no line has{of_kind}", file.display());
                }
            }
        }
        assert!(kinds > 40, "only {kinds} imports were seen");
    }
}
