//! Flags into the session that a capturing command begins or joins.

use std::time::Duration;

use clap::ArgMatches;
use proto::launch::StoreChoice;
use proto::v1;

use crate::capture::session::{New, Where};
use crate::capture::{Choice, Plan};
use crate::cli::{CapturingArgs, DeployArgs, SessionArgs, filter};
use crate::cluster::request::Request;
use crate::cluster::session::launches;
use crate::cluster::{connect, images, selection};
use crate::console::Console;
use crate::failure::Failure;
use crate::save::Target;
use crate::session::Wanted;
use crate::stdout;
use crate::store::{self, SessionStore};

/// Bytes of a session's own store.
const OWN_STORE_LIMIT: u64 = 2 << 30;

/// How long a kept session's hub lives after capture ended.
const KEPT_SESSION_TTL: Duration = Duration::from_hours(1);

/// What a command is for.
#[derive(Debug)]
enum Aim {
    /// A session there.
    Session(Where),
    /// The manifests that a session would consist of, for which no cluster is asked.
    Manifests,
}

/// What a command is for, and which traffic is meant.
#[derive(Debug)]
pub(crate) struct Site {
    aim: Aim,
    /// Which traffic.
    pub(crate) filter: v1::Filter,
}

/// What a command adds to the flags.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    /// Payload bytes that it shows.
    pub(crate) print_bytes: u32,
    /// Whether it stores without being asked.
    pub(crate) stores: bool,
    /// Whether it shows what is known by packets alone.
    pub(crate) packets: bool,
}

fn pods_asked(asked: &CapturingArgs, everywhere: bool) -> selection::Asked<'_> {
    let nodes = asked.deploy.node.as_slice();
    selection::Asked { pods: &asked.pods, names: &asked.filter, nodes, everywhere }
}

/// Finds the place and the traffic: in a cluster it connects, and asks for what names stand for.
///
/// `everywhere` says that all namespaces are meant where no flag names one.
pub(crate) async fn site(
    asked: &CapturingArgs,
    protocol: Option<&str>,
    matches: &ArgMatches,
    everywhere: bool,
    console: &Console,
) -> Result<Site, Failure> {
    check(asked)?;
    let filter = filter::build(&asked.filter, &asked.place, protocol, matches)?;
    if asked.place.local {
        return Ok(Site { aim: Aim::Session(Where::Local), filter });
    }
    if asked.deploy.print_manifests {
        let namespace = connect::namespace(&asked.place.cluster).await;
        let filter = selection::select(pods_asked(asked, everywhere), &namespace, &[], filter)?;
        return Ok(Site { aim: Aim::Manifests, filter });
    }
    let connection = connect::connect(&asked.place.cluster).await?;
    let exists = selection::existing(&connection, &selection::dotted(&asked.filter.pod_name)).await;
    let mut filter =
        selection::select(pods_asked(asked, everywhere), &connection.namespace, &exists, filter)?;
    let named = !asked.pods.namespace.is_empty();
    let notes = selection::check(&connection, &mut filter, named).await?;
    // A session that is joined may be for other pods, or not be there.
    if asked.session.session.is_none() {
        for note in notes {
            console.hint(&note);
        }
    }
    Ok(Site { aim: Aim::Session(Where::Cluster(Box::new(connection))), filter })
}

/// Turns flags into a plan, and says what must be said before a session begins; `None` where manifests were printed
/// instead.
pub(crate) fn plan(
    asked: &CapturingArgs,
    site: Site,
    needs: Needs,
    console: &Console,
) -> Result<Option<Plan>, Failure> {
    let CapturingArgs { session, capture, deploy, .. } = asked;
    let unused = filter::unused(capture);
    if !unused.is_empty() {
        console.warning(&format!("{} is accepted and unused", unused.join(", ")));
    }
    let save = session.save.as_deref().map(Target::new).transpose()?;
    let time = capture.time;
    if !capture.redact && session.session.is_none() {
        console.warning("`--redact=false` shows and stores passwords, tokens and cookies");
    }
    let place = match site.aim {
        Aim::Session(place) => place,
        Aim::Manifests => {
            let wanted = wanted(asked, site.filter, needs)?;
            stdout::print(&launches::print(&wanted, &request(deploy))?)?;
            return Ok(None);
        }
    };
    if let Some(name) = &session.session {
        let session = Choice::Join(name.clone());
        return Ok(Some(Plan { place, session, time, save, hint_at_keeping: false }));
    }
    let wanted = wanted(asked, site.filter, needs)?;
    let own_store = matches!(&wanted.store, SessionStore::Own);
    let hint_at_keeping = own_store && !session.keep && save.is_none();
    let session = Choice::New(Box::new(New { wanted, cluster: request(deploy) }));
    Ok(Some(Plan { place, session, time, save, hint_at_keeping }))
}

/// What the flags want of a new session.
fn wanted(asked: &CapturingArgs, filter: v1::Filter, needs: Needs) -> Result<Wanted, Failure> {
    let CapturingArgs { session, capture, .. } = asked;
    let store = store_of(session, needs.stores)?;
    let own_limit = match store {
        SessionStore::Own => OWN_STORE_LIMIT,
        SessionStore::Given(_) => 0,
    };
    let stored = !matches!(store, SessionStore::Given(StoreChoice::None));
    let stored_bytes = if stored { session.max_store_bytes } else { 0 };
    Ok(Wanted {
        name: session.name.clone(),
        store_limit: session.store_limit.unwrap_or(own_limit),
        store,
        max_store_bytes: session.max_store_bytes,
        payload_bytes: stored_bytes.max(needs.print_bytes),
        keep: session.keep,
        ttl: session.ttl.unwrap_or(KEPT_SESSION_TTL),
        timeout: session.timeout,
        // Of a new session the nodes say where capturers run, which is all that there is to see.
        filter: v1::Filter { nodes: Vec::new(), ..filter },
        redaction: v1::Redaction {
            enabled: capture.redact,
            headers: capture.redact_header.iter().map(|name| name.to_ascii_lowercase()).collect(),
        },
        sample: capture.sample,
        tracing: capture.trace.tracing(needs.packets || stored),
        ring_bytes: capture.ring_size,
        btf: capture.btf.clone(),
    })
}

/// What the flags ask of a cluster.
fn request(deploy: &DeployArgs) -> Request {
    Request {
        images: images::chosen(deploy),
        pull_policy: deploy.image_pull_policy.clone(),
        pull_secret: deploy.image_pull_secret.clone(),
        node_selector: deploy.node_selector.clone(),
        nodes: deploy.node.clone(),
        capabilities_only: deploy.capabilities_only,
        hub_replicas: deploy.hub_replicas,
        ..Request::default()
    }
}

fn check(CapturingArgs { session, place, deploy, capture, .. }: &CapturingArgs) -> Result<(), Failure> {
    if deploy.hub_replicas > 1 && session.store.is_none() {
        return Err(Failure::usage("`--hub-replicas` needs `--store`")
            .hint("several hubs store together in a mysql:// store of your own"));
    }
    if capture.btf.is_some() && !place.local {
        return Err(Failure::usage(
            "`--btf` is for `--local`: a capturer in a cluster has its node's files only",
        )
        .hint("choose nodes whose kernel has /sys/kernel/btf/vmlinux with `--node` or `--node-selector`"));
    }
    if session.ttl.is_some() && !session.keep {
        return Err(Failure::usage("`--ttl` needs `--keep`")
            .hint("a session that is not kept ends with this command"));
    }
    if session.ttl.is_some() && place.local {
        return Err(Failure::usage(
            "`--ttl` cannot be used with `--local`: a kept store on this machine stays",
        )
        .hint("remove it with `kubectl kyanos cleanup NAME --local` when it is no longer needed"));
    }
    Ok(())
}

fn store_of(session: &SessionArgs, stores: bool) -> Result<SessionStore, Failure> {
    let password = std::env::var(store::PASSWORD_VARIABLE).ok();
    match &session.store {
        Some(url) => {
            store::choice(url, session.store_reader.as_deref(), password.as_deref()).map(SessionStore::Given)
        }
        None if stores || session.keep || session.save.is_some() => Ok(SessionStore::Own),
        None => Ok(SessionStore::Given(StoreChoice::None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{CaptureArgs, PlaceArgs, TraceArgs};
    use crate::failure::USAGE;

    fn refused(flags: &CapturingArgs, word: &str) {
        let failure = check(flags).expect_err("refused");
        assert_eq!(failure.exit, USAGE);
        assert!(failure.what.contains(word) && failure.hint.is_some(), "{}", failure.what);
    }

    fn local() -> PlaceArgs {
        PlaceArgs { local: true, ..PlaceArgs::default() }
    }

    #[test]
    fn a_local_store_has_no_time_to_live() {
        let alone = SessionArgs { ttl: Some(Duration::from_hours(1)), ..SessionArgs::default() };
        let kept = SessionArgs { keep: true, ..alone.clone() };
        refused(&CapturingArgs { place: local(), session: alone, ..CapturingArgs::default() }, "--keep");
        refused(
            &CapturingArgs { place: local(), session: kept.clone(), ..CapturingArgs::default() },
            "--local",
        );
        let forever = SessionArgs { keep: true, ..SessionArgs::default() };
        assert!(
            check(&CapturingArgs { place: local(), session: forever, ..CapturingArgs::default() }).is_ok()
        );
        assert!(check(&CapturingArgs { session: kept, ..CapturingArgs::default() }).is_ok());
    }

    #[test]
    fn several_hubs_need_a_store_of_the_users() {
        let deploy = DeployArgs { hub_replicas: 2, ..DeployArgs::default() };
        refused(&CapturingArgs { deploy: deploy.clone(), ..CapturingArgs::default() }, "--store");
        let session = SessionArgs { store: Some("mysql://u@h/d".to_owned()), ..SessionArgs::default() };
        assert!(check(&CapturingArgs { deploy, session, ..CapturingArgs::default() }).is_ok());
    }

    #[test]
    fn a_file_of_this_machine_is_none_of_a_nodes() {
        let capture = CaptureArgs { btf: Some("vmlinux".into()), ..CaptureArgs::default() };
        refused(&CapturingArgs { capture: capture.clone(), ..CapturingArgs::default() }, "--btf");
        assert!(check(&CapturingArgs { place: local(), capture, ..CapturingArgs::default() }).is_ok());
    }

    #[test]
    fn packets_are_followed_where_they_are_shown_stored_or_asked_for() {
        let follows = |session: &SessionArgs, flag: Option<bool>, packets: bool| {
            let trace = TraceArgs { trace_dev_event: flag, ..TraceArgs::default() };
            let capture = CaptureArgs { trace, ..CaptureArgs::default() };
            let asked = CapturingArgs { session: session.clone(), capture, ..CapturingArgs::default() };
            let needs = Needs { print_bytes: 0, stores: false, packets };
            !wanted(&asked, v1::Filter::default(), needs).expect("a session").tracing.without_packets
        };
        let shown = SessionArgs::default();
        let kept = SessionArgs { keep: true, ..SessionArgs::default() };
        let given = SessionArgs { store: Some("sqlite:kept.db".to_owned()), ..SessionArgs::default() };
        assert!(!follows(&shown, None, false));
        assert!(follows(&shown, None, true) && follows(&kept, None, false) && follows(&given, None, false));
        assert!(follows(&shown, Some(true), false) && !follows(&kept, Some(false), true));
    }
}
