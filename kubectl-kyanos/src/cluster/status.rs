//! `status` in a cluster: its sessions, as their namespaces, DaemonSets and hubs tell.

use std::time::Duration;

use futures_util::future::try_join_all;
use jiff::tz::TimeZone;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::Api;
use proto::v1;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::connect::{self, Connection};
use super::sessions::{self, Life, SessionRef};
use super::{names, session, teardown};
use crate::cli::StatusArgs;
use crate::console::Console;
use crate::failure::Failure;
use crate::render::result::{self, Format};
use crate::render::table::Table;
use crate::render::{self, units};
use crate::stdout::{print, terminal_width};

/// Longest wait for a session's hub: what the API knows is shown without it.
const HUB_TIMEOUT: Duration = Duration::from_secs(5);

/// A session as the API and its hub show it.
struct Seen {
    session: SessionRef,
    namespace: Namespace,
    life: Life,
    /// Capturers that are ready, and that should be.
    capturers: Option<(i32, i32)>,
    /// Who holds the lease.
    holder: Option<String>,
    /// What its hub says, where it answers and this user may ask.
    state: Option<v1::DescribeResponse>,
}

/// Runs the command.
pub(crate) async fn run(args: &StatusArgs, console: &Console) -> Result<u8, Failure> {
    let connection = connect::connect(&args.place.cluster).await?;
    teardown::sweep(&connection, console).await;
    let found = sessions::list(&connection).await?;
    let looks = found.into_iter().map(|(session, namespace)| look(&connection, session, namespace));
    let seen = try_join_all(looks).await?;
    let values: Vec<Value> = seen.iter().map(value).collect();
    match args.output {
        Format::Json => print(&format!("{}\n", result::json(&values)?))?,
        Format::Yaml => print(&result::yaml(&values)?)?,
        format @ (Format::Table | Format::Wide | Format::Csv) => {
            print(&table(&seen, format == Format::Wide))?;
            for one in &seen {
                let lines =
                    render::session::not_seen(&one.session.name, one.state.as_ref(), &TimeZone::system());
                for line in lines {
                    console.say(&line);
                }
            }
        }
    }
    Ok(0)
}

async fn look(connection: &Connection, session: SessionRef, namespace: Namespace) -> Result<Seen, Failure> {
    let within = session.namespace();
    let lives = sessions::is_live(connection, &namespace).await?;
    let daemons: Api<DaemonSet> = Api::namespaced(connection.client.clone(), &within);
    let failed = |error: &kube::Error| connect::failure(error, &connection.server);
    let daemon = daemons.get_opt("capturer").await.map_err(|error| failed(&error))?;
    // Who may not see leases still sees the rest.
    let lease = sessions::lease(connection, &session).await;
    let life = Life::of(&namespace, lease.as_ref(), lives);
    let capturers = daemon
        .and_then(|daemon| daemon.status)
        .map(|status| (status.number_ready, status.desired_number_scheduled));
    let holder = lease.and_then(|lease| lease.spec).and_then(|spec| spec.holder_identity);
    let state =
        if lives { timeout(HUB_TIMEOUT, ask(connection, &session)).await.ok().flatten() } else { None };
    Ok(Seen { session, namespace, life, capturers, holder, state })
}

/// Asks a session's hub.
async fn ask(connection: &Connection, session: &SessionRef) -> Option<v1::DescribeResponse> {
    let mut client = session::join(connection, &session.name).await.ok()?;
    client.describe().await.ok()
}

// === impl Seen ===

impl Seen {
    fn annotation(&self, key: &str) -> Option<&str> {
        self.namespace.annotations().get(key).map(String::as_str)
    }

    /// How far it is, and of one that is kept what is left of its time.
    fn state(&self) -> String {
        match self.life {
            Life::Kept(left) => format!("{}, {} left", self.life.word(), units::age(left.as_secs())),
            Life::Live | Life::Ended | Life::Ending => self.life.word().to_owned(),
        }
    }

    fn kept_for(&self) -> Option<u64> {
        if let Life::Kept(left) = self.life { Some(left.as_secs()) } else { None }
    }
}

fn table(seen: &[Seen], wide: bool) -> String {
    if seen.is_empty() {
        return "no sessions in this cluster\n".to_owned();
    }
    let mut titles = ["SESSION", "AGE", "OWNER", "STATE", "CAPTURERS"].map(str::to_owned).to_vec();
    titles.extend(render::session::TITLES.map(str::to_owned));
    if wide {
        titles.extend(["NODES", "STORE", "NAMESPACE", "LEASE", "VERSION"].map(str::to_owned));
    }
    let mut table = Table::new(&titles, terminal_width());
    for one in seen {
        let dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
        let mut cells = vec![
            one.session.name.clone(),
            units::age(sessions::age(&one.namespace).as_secs()),
            dash(one.annotation(names::OWNER_ANNOTATION)),
            one.state(),
            one.capturers.map_or_else(|| "-".to_owned(), |(ready, wanted)| format!("{ready}/{wanted}")),
        ];
        let state = one.state.as_ref();
        cells.extend(render::session::cells(state));
        if wide {
            cells.push(state.map_or_else(|| "-".to_owned(), render::session::nodes));
            cells.push(state.map_or_else(|| "-".to_owned(), render::session::store));
            cells.push(one.session.namespace());
            cells.push(dash(one.holder.as_deref()));
            cells.push(dash(one.annotation(names::VERSION_ANNOTATION)));
        }
        table.row(cells);
    }
    table.render()
}

fn value(seen: &Seen) -> Value {
    let mut value = json!({
        "session": seen.session.name,
        "namespace": seen.session.namespace(),
        "state": seen.life.word(),
        "kept_for_seconds": seen.kept_for(),
        "started": seen.annotation(names::STARTED_ANNOTATION),
        "owner": seen.annotation(names::OWNER_ANNOTATION),
        "version": seen.annotation(names::VERSION_ANNOTATION),
        "lease_holder": seen.holder,
        "capturers_ready": seen.capturers.map(|(ready, _)| ready),
        "capturers_wanted": seen.capturers.map(|(_, wanted)| wanted),
    });
    if let Some(fields) = value.as_object_mut() {
        fields.extend(render::session::fields(seen.state.as_ref()));
    }
    value
}
