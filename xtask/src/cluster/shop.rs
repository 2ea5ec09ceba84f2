//! A small shop as a workload: on every node a loader, which asks a web server, Redis and a database through Services.

use std::time::Duration;

use anyhow::Result;

use super::Kubectl;
use crate::process::wait_until;

/// The image of the database that is watched.
const DATABASE_IMAGE: &str = "docker.io/library/mariadb:10.11";

/// The objects, in a namespace of their own.
const MANIFESTS: &str = include_str!("shop.yaml");

/// Longest wait for all pods to run.
const PODS_TIMEOUT: Duration = Duration::from_mins(3);

/// The namespace of the workload.
const NAMESPACE: &str = "e2e-shop";

/// The workload in its own namespace.
#[derive(Debug)]
pub struct Shop {
    kubectl: Kubectl,
}

// === impl Shop ===

impl Shop {
    /// Applies it and waits until all of it runs; what is there already stays.
    pub fn open(kubectl: &Kubectl, image: &str) -> Result<Self> {
        kubectl.wait_for_end(NAMESPACE)?;
        let manifests =
            MANIFESTS.replace("NAMESPACE", NAMESPACE).replace("IMAGE_OF_DATABASE", DATABASE_IMAGE);
        kubectl.apply(&manifests.replace("IMAGE_OF_WORKLOADS", image))?;
        for workload in ["deployment/web", "deployment/cache", "deployment/db", "daemonset/loader"] {
            let limit = format!("--timeout={}s", PODS_TIMEOUT.as_secs());
            kubectl.run(&["rollout", "status", workload, "-n", NAMESPACE, &limit])?;
        }
        Ok(Self::at(kubectl))
    }

    /// Returns the workload that is there.
    #[must_use]
    pub fn at(kubectl: &Kubectl) -> Self {
        Self { kubectl: kubectl.clone() }
    }

    /// Removes it, without waiting for the end.
    pub fn close(&self) -> Result<()> {
        self.kubectl.run(&["delete", "namespace", NAMESPACE, "--wait=false", "--ignore-not-found"])?;
        Ok(())
    }

    /// Returns the namespace.
    #[must_use]
    pub fn namespace(&self) -> &'static str {
        NAMESPACE
    }

    /// Returns the names of an app's pods.
    pub fn pods(&self, app: &str) -> Result<Vec<String>> {
        let selector = format!("app={app}");
        let names = "jsonpath={range .items[*]}{.metadata.name}{\"\\n\"}{end}";
        let text = self.kubectl.run(&["get", "pods", "-n", NAMESPACE, "-l", &selector, "-o", names])?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Changes how many pods a deployment has, and waits until it has them.
    pub fn scale(&self, app: &str, replicas: usize) -> Result<()> {
        let (deployment, count) = (format!("deployment/{app}"), format!("--replicas={replicas}"));
        self.kubectl.run(&["scale", &deployment, "-n", NAMESPACE, &count])?;
        wait_until("the pods", PODS_TIMEOUT, || self.pods(app).is_ok_and(|pods| pods.len() == replicas))?;
        self.kubectl.run(&["rollout", "status", &deployment, "-n", NAMESPACE])?;
        Ok(())
    }
}
