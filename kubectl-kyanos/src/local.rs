//! A session on this machine: hub and capturer as children of this process, on loopback.

mod child;
pub(crate) mod directory;
pub(crate) mod leftovers;
pub(crate) mod preflight;

use std::time::Duration;

use proto::launch::{
    CapturerLaunch, CapturerReady, HubAnswer, HubLaunch, HubPlace, SessionFile, StoreChoice,
};
use tokio::sync::mpsc;

use self::child::Child;
pub(crate) use self::directory::Places;
use crate::client::Client;
use crate::clock::now_ns;
use crate::console::Console;
use crate::failure::Failure;
use crate::platform;
use crate::session::certificates::{self, Identities};
use crate::session::{Kept, Notice, Remains, Wanted, name};
use crate::store::SessionStore;

/// Command that removes what sessions on this machine left.
pub(crate) const CLEANUP_COMMAND: &str = "kubectl kyanos cleanup --local";

/// Longest a child may take to end after its input closed.
const CHILD_END_TIMEOUT: Duration = Duration::from_secs(4);

/// Hub, capturer and files of a session that this process started.
///
/// Dropping it kills and removes all of it at once; [`Local::finish`] lets the parts end by themselves first.
#[derive(Debug)]
pub(crate) struct Local {
    places: Places,
    wanted: Wanted,
    identities: Identities,
    file: SessionFile,
    hub: Option<Child>,
    ingest_port: u16,
    capturer: Option<Child>,
    /// Where the hub stores.
    store: StoreChoice,
    /// The store's file was not there before.
    store_is_new: bool,
    finished: bool,
}

// === impl Local ===

impl Local {
    /// Checks what a session needs, removes what dead ones left and makes this one's directory.
    pub(crate) fn create(wanted: Wanted, console: &Console) -> Result<Self, Failure> {
        preflight::check()?;
        let places = Places::default();
        for line in leftovers::remove_dead(&places) {
            console.say(&line);
        }
        let given = wanted.name.is_some();
        let mut name = wanted.name.clone().unwrap_or_else(name::made_up);
        while !given && places.store(&name).exists() {
            name = name::made_up();
        }
        let identities = certificates::make(&name)?;
        let file = SessionFile {
            session: name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            owner: platform::owner(),
            started_ns: now_ns(),
            plugin_pid: std::process::id(),
            hub_pid: None,
            capturer_pid: None,
            viewer_port: None,
            store: None,
            keep: wanted.keep,
            started_ticks: directory::began_ticks(std::process::id()),
        };
        if places.store(&name).exists() {
            return Err(directory::in_use(&name));
        }
        places.create(&file)?;
        let mut local = Self {
            places,
            wanted,
            identities,
            file,
            hub: None,
            ingest_port: 0,
            capturer: None,
            store: StoreChoice::None,
            store_is_new: false,
            finished: false,
        };
        local.choose_store()?;
        local.places.write(&local.file)?;
        Ok(local)
    }

    /// The session's name.
    pub(crate) fn name(&self) -> &str {
        &self.file.session
    }

    /// Starts hub and capturer, and connects to the hub.
    pub(crate) async fn start(
        &mut self,
        notices: &mpsc::Sender<Notice>,
        console: &mut Console,
    ) -> Result<Client, Failure> {
        console.step("starting the hub …");
        let port = self.start_hub(notices, console).await?;
        console.done("hub started");
        let client = Client::connect(&self.identities.viewer, port).await?;
        console.step("attaching the capturer's programs …");
        let capturing = self.start_capturer(notices, console).await?;
        console.clear();
        console.say(&capturing);
        // As in a cluster: a script reads one form.
        console.say("capturers 1/1 ready");
        Ok(client)
    }

    /// Starts the hub and returns its viewer port; other commands can join from here on.
    async fn start_hub(&mut self, notices: &mpsc::Sender<Notice>, console: &Console) -> Result<u16, Failure> {
        let launch = self.hub_launch();
        let hub = self.hub.insert(Child::spawn("hub", notices.clone(), console.clone())?);
        // Before it opens a socket: capturers of all sessions leave the processes alone that are written here.
        self.file.hub_pid = Some(hub.pid());
        self.places.write(&self.file)?;
        let answer: HubAnswer = hub.launch(&launch, self.wanted.timeout).await?;
        let ready = match answer {
            HubAnswer::Ready(ready) => ready,
            HubAnswer::Failed(failed) => return Err(with_hint(failed.error, failed.hint)),
        };
        self.ingest_port = ready.ingest_port;
        self.file.viewer_port = Some(ready.viewer_port);
        self.places.write_viewer(self.name(), &self.identities.viewer)?;
        self.places.write(&self.file)?;
        Ok(ready.viewer_port)
    }

    /// Starts the capturer and says what it does.
    async fn start_capturer(
        &mut self,
        notices: &mpsc::Sender<Notice>,
        console: &Console,
    ) -> Result<String, Failure> {
        let node = platform::host_name().unwrap_or_else(|| "localhost".to_owned());
        let launch = CapturerLaunch {
            session: self.name().to_owned(),
            node: node.clone(),
            hub: format!("127.0.0.1:{}", self.ingest_port),
            identity: self.identities.capturer.clone(),
            ring_bytes: self.wanted.ring_bytes,
            btf: self.wanted.btf.clone(),
            sessions: Some(self.places.sessions.clone()),
        };
        let capturer = self.capturer.insert(Child::spawn("capturer", notices.clone(), console.clone())?);
        self.file.capturer_pid = Some(capturer.pid());
        self.places.write(&self.file)?;
        let answer: CapturerReady = capturer.launch(&launch, self.wanted.timeout).await?;
        match answer {
            CapturerReady::Capturing { kernel, source } => {
                Ok(format!("capturing on {node} (session {}, kernel {kernel}, source {source})", self.name()))
            }
            CapturerReady::Failed { error, hint } => Err(with_hint(error, hint)),
        }
    }

    /// Lets capturer and hub end, kills what does not, and removes the session's files.
    pub(crate) async fn finish(mut self) -> Remains {
        for child in [self.capturer.take(), self.hub.take()].into_iter().flatten() {
            child.end(CHILD_END_TIMEOUT).await;
        }
        self.finished = true;
        self.remove()
    }

    /// Ends a session that never captured: as [`Local::finish`], and a store that it made goes too, for nothing is in it.
    pub(crate) async fn cancel(mut self) -> Remains {
        if self.store_is_new {
            self.file.keep = false;
        }
        self.finish().await
    }

    /// Kills capturer and hub and removes the session's files.
    pub(crate) fn abort(mut self) -> Remains {
        self.kill();
        self.remove()
    }

    fn kill(&mut self) {
        for child in [self.capturer.take(), self.hub.take()].into_iter().flatten() {
            child.kill();
        }
        self.finished = true;
    }

    fn choose_store(&mut self) -> Result<(), Failure> {
        self.store = match &self.wanted.store {
            SessionStore::Own => {
                let path = self.places.create_store(&self.file.session)?;
                self.store_is_new = true;
                StoreChoice::Sqlite { path }
            }
            SessionStore::Given(store) => store.clone(),
        };
        if let SessionStore::Given(StoreChoice::Sqlite { path }) = &self.wanted.store {
            self.store_is_new = !path.exists();
            self.file.keep = true;
        }
        if let StoreChoice::Sqlite { path } = &self.store {
            self.file.store = Some(path.clone());
        }
        Ok(())
    }

    fn hub_launch(&self) -> HubLaunch {
        HubLaunch {
            session: self.name().to_owned(),
            place: HubPlace::Local { directory: self.places.directory(self.name()) },
            identity: self.identities.hub.clone(),
            store: self.store.clone(),
            store_limit: self.wanted.store_limit,
            max_store_bytes: self.wanted.max_store_bytes,
            payload_bytes: self.wanted.payload_bytes,
            keep: self.file.keep,
            ttl_seconds: self.wanted.ttl.as_secs(),
            filter: self.wanted.filter.clone(),
            redaction: self.wanted.redaction.clone(),
            sample: self.wanted.sample,
            tracing: self.wanted.tracing,
            hubs: 1,
        }
    }

    fn remove(&self) -> Remains {
        let mut remains = Remains { left: leftovers::remove(&self.places, &self.file), ..Remains::default() };
        if self.file.keep
            && let Some(store) = self.file.store.as_deref().filter(|store| store.exists())
        {
            platform::give_to_owner(store);
            remains.kept = Some(Kept::File(store.to_path_buf()));
        }
        remains.left.sort();
        remains
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        self.kill();
        self.remove();
    }
}

/// Connects to a session's hub with the credentials in its directory.
pub(crate) async fn connect(places: &Places, name: &str) -> Result<Client, Failure> {
    let file = places.read(name)?;
    let identity = places.read_viewer(name)?;
    let Some(port) = file.viewer_port else {
        return Err(Failure::new(format!("session `{name}` is still starting")).hint("try again in a second"));
    };
    Client::connect(&identity, port).await
}

/// Finds the session to ask when none is named: the only live one.
pub(crate) fn only_live(places: &Places) -> Result<String, Failure> {
    let live: Vec<String> =
        places.list().into_iter().filter(directory::Found::is_live).map(|found| found.name).collect();
    match live.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Failure::usage("no session is running on this machine").hint(
            "start one with `kubectl kyanos watch --local`, or ask a kept store with `--store sqlite:FILE`",
        )),
        several => Err(Failure::usage(format!("several sessions are running: {}", several.join(", ")))
            .hint("choose one with `--session NAME`")),
    }
}

fn with_hint(error: String, hint: Option<String>) -> Failure {
    let failure = Failure::new(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
