//! A real cluster that tests run on: what is applied to it, the user that the plugin runs as, and what is left there.

mod relay;
mod shop;

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kyanos::{Report, Session, unique_name};
use crate::process::{Plan, wait_until};
use crate::{run, workspace};
pub use relay::Relay;
pub use shop::Shop;

/// Names the kubeconfig of the cluster that tests run on; `cargo xtask e2e` sets it.
pub const KUBECONFIG: &str = "KYANOS_E2E_KUBECONFIG";

/// Names the store image of sessions where it is not the default; `cargo xtask e2e` sets it.
pub const STORE_IMAGE: &str = "KYANOS_E2E_STORE_IMAGE";

/// The namespace and binding of the user that the plugin runs as.
const USER: &str = "e2e-kyanos-user";

/// The role in `manifests/deployer.yaml`.
const ROLE: &str = "kyanos-deployer";

/// Longest wait for one command of the plugin to end, a whole start-up included.
const COMMAND_TIMEOUT: Duration = Duration::from_mins(3);

/// A cluster, with all rights for the test and a deployer's for the plugin.
#[derive(Debug)]
pub struct Cluster {
    kubectl: Kubectl,
    deployer: PathBuf,
    _folder: TempDir,
}

/// `kubectl` with one kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

// === impl Cluster ===

impl Cluster {
    /// Opens the cluster that `cargo xtask e2e` names; says that the test is skipped and gives nothing without one.
    pub fn open() -> Result<Option<Self>> {
        let Some(kubeconfig) = std::env::var_os(KUBECONFIG) else {
            println!("skipped: it needs a cluster: `cargo xtask e2e --kubeconfig FILE`");
            return Ok(None);
        };
        let kubectl = Kubectl::new(Path::new(&kubeconfig))?;
        let folder = tempfile::tempdir()?;
        let deployer = folder.path().join("deployer.kubeconfig");
        write_private(&deployer, &kubectl.deployer()?)?;
        Ok(Some(Self { kubectl, deployer, _folder: folder }))
    }

    /// Returns `kubectl` with all rights.
    #[must_use]
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// Starts a command of the plugin with no more rights than `manifests/deployer.yaml` gives.
    pub fn start(&self, arguments: &[&str]) -> Result<Session> {
        let plan = Plan::at(&workspace::binary("kubectl-kyanos")?).stop_by(Signal::SIGINT);
        let mut command = plan.command();
        command.args(arguments).env("KUBECONFIG", &self.deployer);
        Session::spawn(&plan, command)
    }

    /// Starts a capturing command such as `watch` with JSON output under a new name, which it returns too.
    pub fn session(&self, command: &str, arguments: &[&str]) -> Result<(String, Session)> {
        let name = unique_name();
        let mut all = vec![command, "--name", &name, "-o", "json"];
        all.extend(arguments);
        let store = std::env::var(STORE_IMAGE).ok();
        all.extend(store.as_deref().into_iter().flat_map(|image| ["--store-image", image]));
        Ok((name.clone(), self.start(&all)?))
    }

    /// Runs a command of the plugin to its end.
    pub fn run(&self, arguments: &[&str]) -> Result<Report> {
        self.start(arguments)?.finish(COMMAND_TIMEOUT)
    }

    /// Returns every object of a session that the API server still has, of all kinds and in all namespaces.
    pub fn left(&self, session: &str) -> Result<Vec<String>> {
        let kinds = self.kubectl.run(&["api-resources", "--verbs=list", "-o", "name"])?;
        let kinds: Vec<&str> = kinds.lines().collect();
        let label = format!("app.kubernetes.io/managed-by=kyanos,kyanos.io/session={session}");
        // Kinds whose server is away are not ours; an error of one must not hide the others.
        let found = self.kubectl.run(&[
            "get",
            &kinds.join(","),
            "-A",
            "-l",
            &label,
            "-o",
            "name",
            "--ignore-not-found",
        ])?;
        let mut left: Vec<String> = found.lines().map(str::to_owned).collect();
        let namespace = format!("kyanos-{session}");
        let namespace =
            self.kubectl.run(&["get", "namespace", &namespace, "-o", "name", "--ignore-not-found"])?;
        left.extend(namespace.lines().map(str::to_owned));
        left.sort();
        left.dedup();
        Ok(left)
    }

    /// Fails unless a session's objects are gone within a limit; returns how long that took.
    pub fn wait_gone(&self, session: &str, limit: Duration) -> Result<Duration> {
        let mut left = Ok(Vec::new());
        let gone = wait_until("everything to be gone", limit, || {
            left = self.left(session);
            left.as_ref().is_ok_and(Vec::is_empty)
        });
        match (gone, left?) {
            (Ok(took), _) => Ok(took),
            (Err(_late), left) => bail!("left of session `{session}`: {}", left.join(", ")),
        }
    }
}

// === impl Kubectl ===

impl Kubectl {
    /// Finds the program; the environment variable `KUBECTL` names another one than `PATH` has.
    pub fn new(kubeconfig: &Path) -> Result<Self> {
        let named = std::env::var_os("KUBECTL").map(PathBuf::from);
        let program = named.or_else(|| run::find("kubectl")).context("`kubectl` is not in PATH")?;
        Ok(Self { program, kubeconfig: kubeconfig.to_owned() })
    }

    /// Runs it and returns its output; a failure carries what it said.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        run::output(self.command().args(arguments))
    }

    /// Runs it and reads its output as JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = run::output(self.command().args(arguments).args(["-o", "json"]))?;
        serde_json::from_str(&text).context("reading what kubectl printed")
    }

    /// Applies manifests.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        let mut child = self
            .command()
            .args(["apply", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting kubectl")?;
        child.stdin.take().context("kubectl has no input")?.write_all(manifests.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("applying failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Returns the names of the nodes that are ready.
    pub fn ready_nodes(&self) -> Result<Vec<String>> {
        let list = self.json(&["get", "nodes"])?;
        let nodes = list.get("items").and_then(Value::as_array).context("a list of nodes")?;
        let is_ready = |node: &&Value| {
            let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
            let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
            conditions.is_some_and(|conditions| conditions.iter().any(ready))
        };
        let name = |node: &Value| Some(node.pointer("/metadata/name")?.as_str()?.to_owned());
        Ok(nodes.iter().filter(is_ready).filter_map(name).collect())
    }

    /// Removes the user that [`Cluster::open`] makes.
    pub fn remove_deployer(&self) -> Result<()> {
        self.run(&["delete", "clusterrolebinding", USER, "--ignore-not-found"])?;
        self.run(&["delete", "clusterrole", ROLE, "--ignore-not-found"])?;
        self.run(&["delete", "namespace", USER, "--wait=false", "--ignore-not-found"])?;
        Ok(())
    }

    /// Waits until a namespace that an earlier run removed is gone; one that lives stays.
    pub fn wait_for_end(&self, namespace: &str) -> Result<()> {
        let phase = || {
            let phase = "jsonpath={.status.phase}";
            self.run(&["get", "namespace", namespace, "--ignore-not-found", "-o", phase])
        };
        let is_over = || phase().is_ok_and(|phase| phase.trim() != "Terminating");
        wait_until(&format!("the end of namespace {namespace}"), COMMAND_TIMEOUT, is_over)?;
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command
    }

    /// Makes a user with the rights of a deployer and returns its kubeconfig.
    fn deployer(&self) -> Result<String> {
        self.wait_for_end(USER)?;
        let role = workspace::root().join("manifests/deployer.yaml");
        let role = std::fs::read_to_string(&role).with_context(|| format!("reading `{}`", role.display()))?;
        let user = json!({ "apiVersion": "v1", "kind": "List", "items": [
            { "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": USER } },
            { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": USER, "namespace": USER } },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": { "name": USER },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ROLE },
                "subjects": [{ "kind": "ServiceAccount", "name": USER, "namespace": USER }],
            },
        ]});
        self.apply(&role)?;
        self.apply(&user.to_string())?;
        let token = self.run(&["create", "token", USER, "-n", USER, "--duration", "4h"])?;
        let mut config = self.json(&["config", "view", "--raw", "--minify", "--flatten"])?;
        let context = config.pointer("/contexts/0/context/user").and_then(Value::as_str).map(str::to_owned);
        let user = context.context("the kubeconfig's context names no user")?;
        config["users"] = json!([{ "name": user, "user": { "token": token.trim() } }]);
        Ok(config.to_string())
    }
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes()).with_context(|| format!("writing `{}`", path.display()))
}
