//! Runs the tests that need a real cluster.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::{cluster, run, setup};

/// Which cluster, and what has to be put there first.
#[derive(Debug, clap::Args)]
pub struct E2eOptions {
    /// The cluster's kubeconfig, with all rights; the plugin itself runs with those of `manifests/deployer.yaml`.
    #[arg(long, value_name = "FILE")]
    kubeconfig: std::path::PathBuf,
    /// Image archives to put on the nodes first; without them the nodes have the images.
    #[arg(long, value_name = "DIR")]
    images: Option<std::path::PathBuf>,
    /// What loads one archive; its path is added. Of kind, k3d and minikube it is known.
    #[arg(long, value_name = "COMMAND", requires = "images")]
    loader: Option<String>,
    /// Image with nginx, redis-server, redis-cli, curl and mariadb, of which the traffic is made.
    #[arg(long, value_name = "IMAGE", default_value = "docker.io/kyanos/workloads:12")]
    workloads: String,
    /// Image of the sessions' store, where it is not the plugin's default.
    #[arg(long, value_name = "IMAGE")]
    store_image: Option<String>,
    /// Only tests whose name contains one of these words.
    only: Vec<String>,
}

/// Builds the plugin and runs the tests against the cluster, one at a time.
pub fn run(choice: &E2eOptions) -> Result<ExitCode> {
    let kubeconfig = choice.kubeconfig.canonicalize();
    let kubeconfig = kubeconfig.with_context(|| format!("opening `{}`", choice.kubeconfig.display()))?;
    let kubectl = cluster::Kubectl::new(&kubeconfig)?;
    let nodes = kubectl.ready_nodes().context("the cluster does not answer")?;
    if nodes.is_empty() {
        bail!("no node of the cluster is ready");
    }
    eprintln!("nodes: {}", nodes.join(", "));
    setup::run(setup::Purpose::Build)?;
    if let Some(folder) = &choice.images {
        let loader = match &choice.loader {
            Some(loader) => loader.clone(),
            None => known_loader(&kubectl.run(&["config", "current-context"])?)?,
        };
        load(folder, &loader)?;
    }
    run::check(run::cargo().args(["build", "--package", "kubectl-kyanos", "--bins"]))?;
    let mut tests = run::cargo();
    tests.args(["test", "--package", "xtask", "--test", "cluster", "--"]);
    tests.args(["--test-threads=1", "--show-output"]).args(&choice.only);
    tests.env(cluster::KUBECONFIG, &kubeconfig);
    match &choice.store_image {
        Some(image) => tests.env(cluster::STORE_IMAGE, image),
        None => tests.env_remove(cluster::STORE_IMAGE),
    };
    let shop = cluster::Shop::open(&kubectl, &choice.workloads).context("applying the workload")?;
    let status = tests.status().context("running cargo");
    // Removed whatever the tests said.
    shop.close().and(kubectl.remove_deployer())?;
    Ok(if status?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The command that loads an archive into a cluster, by its context.
fn known_loader(context: &str) -> Result<String> {
    let context = context.trim();
    if let Some(name) = context.strip_prefix("kind-") {
        return Ok(format!("kind load image-archive --name {name}"));
    }
    if let Some(name) = context.strip_prefix("k3d-") {
        return Ok(format!("k3d image import --cluster {name}"));
    }
    if context == "minikube" {
        return Ok("minikube image load".to_owned());
    }
    bail!("it is not known how images are loaded into `{context}`: say it with `--loader COMMAND`")
}

/// Gives every archive of a folder to the loader.
fn load(folder: &Path, loader: &str) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading `{}`", folder.display()))?;
    let mut archives = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tar") {
            archives.push(path);
        }
    }
    if archives.is_empty() {
        bail!("`{}` has no archives; `cargo xtask image` makes them", folder.display());
    }
    archives.sort();
    for archive in archives {
        run::check(Command::new("sh").args(["-c", &format!("{loader} \"$0\"")]).arg(&archive))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_is_known_by_the_context() {
        assert_eq!(known_loader("kind-shop\n").unwrap(), "kind load image-archive --name shop");
        assert_eq!(known_loader("k3d-shop").unwrap(), "k3d image import --cluster shop");
        assert!(known_loader("prod").unwrap_err().to_string().contains("--loader"));
    }
}
