//! Pods by namespace, name, workload and container.

use std::sync::Arc;

use super::workload::Workload;
use super::{FilterError, Test, among, asked};
use crate::v1;

/// A process outside pods fails each of these.
#[derive(Debug)]
struct Pods {
    namespaces: Vec<String>,
    names: Vec<PodName>,
    workloads: Vec<Workload>,
    containers: Vec<String>,
}

/// A pod by name, in any namespace or in one.
#[derive(Debug)]
struct PodName {
    namespace: Option<String>,
    name: String,
}

pub(super) fn compile(filter: &v1::Filter) -> Result<Option<Arc<dyn Test>>, FilterError> {
    let v1::Filter { namespaces, pods, workloads, containers, .. } = filter;
    let asks = [namespaces, pods, workloads, containers].iter().any(|values| !values.is_empty());
    let test = Pods {
        namespaces: namespaces.clone(),
        names: pods.iter().map(|pod| PodName::parse(pod)).collect::<Result<_, _>>()?,
        workloads: workloads.iter().map(|workload| Workload::parse(workload)).collect::<Result<_, _>>()?,
        containers: containers.clone(),
    };
    Ok(asked(test, asks))
}

impl Test for Pods {
    fn passes(&self, exchange: &v1::Exchange) -> bool {
        exchange.origin.as_ref().is_some_and(|origin| {
            self.wants_pod(&origin.namespace, &origin.pod, &origin.workload)
                && self.wants_container(&origin.container)
        })
    }

    fn wants_pod(&self, namespace: &str, name: &str, workload: &str) -> bool {
        among(&self.namespaces, namespace)
            && (self.names.is_empty() || self.names.iter().any(|pod| pod.is(namespace, name)))
            && (self.workloads.is_empty() || self.workloads.iter().any(|wanted| wanted.has(name, workload)))
    }

    fn wants_container(&self, name: &str) -> bool {
        among(&self.containers, name)
    }

    fn wants_pods_only(&self) -> bool {
        true
    }
}

// === impl PodName ===

impl PodName {
    fn parse(text: &str) -> Result<Self, FilterError> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        if name.is_empty() || name.contains('/') || namespace.is_some_and(str::is_empty) {
            return Err(FilterError::new("pod-name", text, "a pod is NAME or NAMESPACE/NAME"));
        }
        Ok(Self { namespace: namespace.map(str::to_owned), name: name.to_owned() })
    }

    fn is(&self, namespace: &str, name: &str) -> bool {
        self.name == name && self.namespace.as_deref().is_none_or(|wanted| wanted == namespace)
    }
}
