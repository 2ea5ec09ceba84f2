//! Pods and workloads that a filter names.

use super::FilterError;

/// A pod by name, in any namespace or in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodName {
    namespace: Option<String>,
    name: String,
}

// === impl PodName ===

impl PodName {
    pub(super) fn parse(text: &str) -> Result<Self, FilterError> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        if name.is_empty() || name.contains('/') || namespace.is_some_and(str::is_empty) {
            return Err(FilterError::new("pod-name", text, "a pod is NAME or NAMESPACE/NAME"));
        }
        Ok(Self { namespace: namespace.map(str::to_owned), name: name.to_owned() })
    }

    pub(super) fn is(&self, namespace: &str, name: &str) -> bool {
        self.name == name && self.namespace.as_deref().is_none_or(|wanted| wanted == namespace)
    }
}

/// Compares workloads as `KIND/NAME`, the kind in any case.
pub(super) fn same_workload(wanted: &str, found: &str) -> bool {
    match (wanted.split_once('/'), found.split_once('/')) {
        (Some((wanted_kind, wanted)), Some((kind, name))) => {
            wanted_kind.eq_ignore_ascii_case(kind) && wanted == name
        }
        _ => false,
    }
}

/// Checks that a workload has its form.
pub(super) fn known_workload(text: &str) -> Result<String, FilterError> {
    match text.split_once('/') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(text.to_owned())
        }
        _ => Err(FilterError::new("workload", text, "a workload is KIND/NAME, as in deployment/orders")),
    }
}
