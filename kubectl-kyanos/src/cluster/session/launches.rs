//! What the parts of a new session are told, and the manifests that tell them.

use std::net::IpAddr;

use proto::launch::{CapturerLaunch, HubLaunch, HubPlace, INGEST_PORT, Identity, StoreChoice};

use super::credentials::StoreLogins;
use crate::cluster::apply::Applier;
use crate::cluster::manifests::{self, GENERATED, Values};
use crate::cluster::request::Request;
use crate::failure::Failure;
use crate::session::certificates::{self, Identities};
use crate::session::{Wanted, name};
use crate::store::{self, SessionStore, without_password};

/// What the parts of a new session are told, beside what the request says.
#[derive(Debug)]
pub(super) struct Launches {
    /// Who its parts are.
    pub(super) identities: Identities,
    /// Of its own store.
    logins: Option<StoreLogins>,
}

// === impl Launches ===

impl Launches {
    /// Makes what is not known before.
    pub(super) fn new(request: &Request) -> Result<Self, Failure> {
        let identities = certificates::make(&request.name)?;
        let logins = request.own_store.then(StoreLogins::make).transpose()?;
        Ok(Self { identities, logins })
    }

    /// Stands for what is not made.
    fn generated() -> Self {
        let identity = || Identity {
            authority: GENERATED.to_owned(),
            certificate: GENERATED.to_owned(),
            key: GENERATED.to_owned(),
        };
        let identities = Identities { hub: identity(), capturer: identity(), viewer: identity() };
        Self { identities, logins: Some(StoreLogins::generated()) }
    }

    /// Everything that the manifests are filled with but the capturers' launch.
    pub(super) fn values(&self, wanted: &Wanted, request: &Request, owner: &str) -> Result<Values, Failure> {
        let mut values = Values::new(request, owner)?;
        let mut store = match &wanted.store {
            SessionStore::Own => StoreChoice::None,
            SessionStore::Given(store) => store.clone(),
        };
        if let (Some(manifest), Some(logins)) = (&mut values.store, &self.logins) {
            manifest.root_password.clone_from(&logins.root);
            manifest.password.clone_from(&logins.writer);
            manifest.reader_sql = logins.reader_sql();
            store = logins.choice();
        }
        if let StoreChoice::Mysql { url, reader: _ } = &store
            && values.store.is_none()
        {
            // The reader's login is for the same servers.
            let places = store::places(url);
            values.store_by_name = places.iter().any(|(host, _)| host.parse::<IpAddr>().is_err());
            values.store_ports = places.into_iter().map(|(_, port)| port).collect();
            values.store_ports.sort_unstable();
            values.store_ports.dedup();
        }
        values.hub_launch = json(&HubLaunch {
            session: request.name.clone(),
            place: HubPlace::Cluster { namespace: values.namespace.clone() },
            identity: self.identities.hub.clone(),
            store,
            store_limit: wanted.store_limit,
            max_store_bytes: wanted.max_store_bytes,
            payload_bytes: wanted.payload_bytes,
            keep: wanted.keep,
            ttl_seconds: wanted.ttl.as_secs(),
            filter: wanted.filter.clone(),
            redaction: wanted.redaction.clone(),
            sample: wanted.sample,
            tracing: wanted.tracing,
            hubs: values.hub_replicas,
        })?;
        values.viewer = json(&self.identities.viewer)?;
        Ok(values)
    }

    fn capturers(&self, wanted: &Wanted, session: &str, hub: &str) -> Result<String, Failure> {
        json(&CapturerLaunch {
            session: session.to_owned(),
            node: String::new(),
            hub: format!("{hub}:{INGEST_PORT}"),
            identity: self.identities.capturer.clone(),
            ring_bytes: wanted.ring_bytes,
            btf: wanted.btf.clone(),
            sessions: None,
        })
    }

    /// Writes all objects, what owns before what is owned and what is read before what reads it.
    pub(super) async fn write(
        &self,
        mut applier: Applier<'_>,
        values: &mut Values,
        wanted: &Wanted,
    ) -> Result<(), Failure> {
        applier.foundation(values).await?;
        let address = applier.surroundings(values).await?;
        let address = if address.contains(':') { format!("[{address}]") } else { address };
        values.capturer_launch = self.capturers(wanted, &values.session, &address)?;
        futures_util::try_join!(applier.hub(values), applier.capturers(values))?;
        Ok(())
    }
}

/// What is asked of a cluster, with what the rest of the command line says of it.
pub(super) fn request(wanted: &Wanted, cluster: &Request) -> Result<Request, Failure> {
    let own_store = match &wanted.store {
        SessionStore::Own => true,
        SessionStore::Given(StoreChoice::Sqlite { .. }) => {
            return Err(Failure::usage("a session in a cluster cannot store in a file of this machine")
                .hint("use `--save FILE.sqlite`, a mysql:// store, or `--local`"));
        }
        SessionStore::Given(StoreChoice::None | StoreChoice::Mysql { .. }) => false,
    };
    Ok(Request {
        name: wanted.name.clone().unwrap_or_else(name::made_up),
        own_store,
        store_limit: wanted.store_limit,
        keep: wanted.keep,
        ttl: wanted.ttl,
        timeout: wanted.timeout,
        ..cluster.clone()
    })
}

/// Returns what a session would consist of, as YAML, without talking to a cluster.
pub(crate) fn print(wanted: &Wanted, cluster: &Request) -> Result<String, Failure> {
    let request = request(wanted, cluster)?;
    let launches = Launches::generated();
    let mut wanted = wanted.clone();
    if let SessionStore::Given(StoreChoice::Mysql { url, reader }) = &mut wanted.store {
        for url in [url].into_iter().chain(reader) {
            *url = without_password(url, GENERATED);
        }
    }
    let wanted = &wanted;
    let mut values = launches.values(wanted, &request, GENERATED)?;
    GENERATED.clone_into(&mut values.started);
    values.capturer_launch = launches.capturers(wanted, &request.name, GENERATED)?;
    manifests::print(&values)
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(value)
        .map_err(|error| Failure::new(format!("writing what the session's parts are told failed: {error}")))
}

#[cfg(test)]
mod tests;
