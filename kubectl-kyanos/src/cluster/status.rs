//! `status` in a cluster: its sessions, as their namespaces and DaemonSets tell.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use super::connect::{self, Connection};
use super::sessions::{self, SessionRef};
use super::{names, teardown};
use crate::cli::StatusArgs;
use crate::commands::{print, terminal_width};
use crate::console::Console;
use crate::failure::Failure;
use crate::render::result;
use crate::render::units;

/// A session as the API shows it.
struct Seen {
    session: SessionRef,
    namespace: Namespace,
    live: bool,
    /// Capturers that are ready, and that should be.
    capturers: Option<(i32, i32)>,
    /// Who holds the lease.
    holder: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(args: &StatusArgs, console: &Console) -> Result<u8, Failure> {
    let connection = connect::connect(&args.place.cluster).await?;
    teardown::sweep(&connection, console).await;
    let mut seen = Vec::new();
    for (session, namespace) in sessions::list(&connection).await? {
        seen.push(look(&connection, session, namespace).await?);
    }
    let values: Vec<Value> = seen.iter().map(value).collect();
    match args.output.as_str() {
        "json" => print(&format!("{}\n", result::json(&values)?))?,
        "yaml" => print(&result::yaml(&values)?)?,
        other => print(&table(&seen, other == "wide"))?,
    }
    Ok(0)
}

async fn look(connection: &Connection, session: SessionRef, namespace: Namespace) -> Result<Seen, Failure> {
    let within = session.namespace();
    let live = sessions::is_live(connection, &namespace).await?;
    let daemons: Api<DaemonSet> = Api::namespaced(connection.client.clone(), &within);
    let leases: Api<Lease> = Api::namespaced(connection.client.clone(), &within);
    let failed = |error: &kube::Error| connect::failure(error, &connection.server);
    let daemon = daemons.get_opt("capturer").await.map_err(|error| failed(&error))?;
    // Who may not see leases still sees the rest.
    let lease =
        leases.list(&ListParams::default()).await.ok().and_then(|found| found.items.into_iter().next());
    let capturers = daemon
        .and_then(|daemon| daemon.status)
        .map(|status| (status.number_ready, status.desired_number_scheduled));
    let holder = lease.and_then(|lease| lease.spec).and_then(|spec| spec.holder_identity);
    Ok(Seen { session, namespace, live, capturers, holder })
}

// === impl Seen ===

impl Seen {
    fn annotation(&self, key: &str) -> Option<&str> {
        self.namespace.annotations().get(key).map(String::as_str)
    }

    fn state(&self) -> &'static str {
        match (self.namespace.metadata.deletion_timestamp.is_some(), self.live) {
            (true, _) => "ending",
            (false, true) => "live",
            (false, false) => "ended",
        }
    }
}

fn table(seen: &[Seen], wide: bool) -> String {
    if seen.is_empty() {
        return "no sessions in this cluster\n".to_owned();
    }
    let mut titles = ["SESSION", "AGE", "OWNER", "STATE", "CAPTURERS"].map(str::to_owned).to_vec();
    if wide {
        titles.extend(["NAMESPACE", "LEASE", "VERSION"].map(str::to_owned));
    }
    let mut table = result::plain(&titles, terminal_width());
    for one in seen {
        let dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
        let mut cells = vec![
            one.session.name.clone(),
            units::age(sessions::age(&one.namespace).as_secs()),
            dash(one.annotation(names::OWNER_ANNOTATION)),
            one.state().to_owned(),
            one.capturers.map_or_else(|| "-".to_owned(), |(ready, wanted)| format!("{ready}/{wanted}")),
        ];
        if wide {
            cells.push(one.session.namespace());
            cells.push(dash(one.holder.as_deref()));
            cells.push(dash(one.annotation(names::VERSION_ANNOTATION)));
        }
        table.add_row(cells);
    }
    result::lines(&table)
}

fn value(seen: &Seen) -> Value {
    json!({
        "session": seen.session.name,
        "namespace": seen.session.namespace(),
        "state": seen.state(),
        "started": seen.annotation(names::STARTED_ANNOTATION),
        "owner": seen.annotation(names::OWNER_ANNOTATION),
        "version": seen.annotation(names::VERSION_ANNOTATION),
        "lease_holder": seen.holder,
        "capturers_ready": seen.capturers.map(|(ready, _)| ready),
        "capturers_wanted": seen.capturers.map(|(_, wanted)| wanted),
    })
}
