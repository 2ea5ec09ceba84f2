//! A command that captures: begin or join a session, follow it, end it, account for it.

use std::time::{Duration, Instant};

use proto::v1;
use tonic::Streaming;

use crate::client::{Client, next};
use crate::console::Console;
use crate::failure::{FAILED, Failure};
use crate::save::{self, Target};
use crate::session::{Begun, Notice, Remains, Session, Wanted};
use crate::stop::{Stop, Stops};
use crate::summary;

/// Longest that capturers may take to send what they have.
const DRAIN: Duration = Duration::from_secs(10);

/// How long the stream may go on after the hub said that all is delivered.
const LAST_ITEMS: Duration = Duration::from_secs(3);

/// What happens after an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The next one.
    More,
    /// As many as wanted were shown.
    Enough,
    /// Nobody reads the output.
    Closed,
    /// The hub says it was the last one.
    Last,
}

/// A way to show a session.
pub(crate) trait View {
    /// What the hub streams for it.
    type Item;

    /// Opens its stream; `own` says whether the session was started for it.
    async fn open(
        &mut self,
        client: &mut Client,
        session: &Session,
    ) -> Result<Streaming<Self::Item>, Failure>;

    /// Waits until an item can be taken; `false` when the output has ended.
    async fn ready(&self) -> bool;

    /// Waits until the output has ended by itself, because it cannot be written any more.
    async fn ended(&self);

    /// Shows an item.
    fn take(&mut self, item: Self::Item) -> Result<Flow, Failure>;

    /// Writes what is left.
    async fn close(&mut self) -> Result<(), Failure>;

    /// Exchanges shown or counted.
    fn captured(&self) -> u64;

    /// Exchanges of the stream that were written; `None` where it brings no exchanges.
    fn printed(&self) -> Option<u64>;

    /// The hub's ledger of this viewer.
    fn balance(&self) -> Option<&v1::Balance>;
}

/// What a capturing command was asked for.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The session to begin, or the name of the one to join.
    pub(crate) session: Choice,
    /// When to stop.
    pub(crate) time: Option<Duration>,
    /// Where to save the store.
    pub(crate) save: Option<Target>,
    /// Whether the end hints at keeping what was stored.
    pub(crate) hint_at_keeping: bool,
}

/// Which session.
#[derive(Debug)]
pub(crate) enum Choice {
    /// A new one.
    New(Box<Wanted>),
    /// A running one.
    Join(String),
}

/// A stream, and the item that was taken from it and waits for the output.
#[derive(Debug)]
struct Items<T> {
    stream: Streaming<T>,
    held: Option<T>,
}

/// How a session ended.
#[derive(Debug, Default)]
struct Account {
    nodes: usize,
    balances: Vec<v1::Balance>,
    unconfirmed: Vec<String>,
    /// A second signal: nothing more is waited for.
    aborted: bool,
    failure: Option<Failure>,
}

// === impl Items ===

impl<T> Items<T> {
    /// Takes the next item; `false` at the stream's end.
    async fn hold(&mut self) -> Result<bool, Failure> {
        self.held = next(&mut self.stream).await?;
        Ok(self.held.is_some())
    }
}

/// Runs a capturing command to its end and returns the exit code.
pub(crate) async fn run<V: View>(plan: Plan, mut view: V, console: &mut Console) -> Result<u8, Failure> {
    let mut stops = Stops::listen()?;
    let begun = begin(&plan.session, console, &mut stops).await;
    console.clear();
    let mut session = match begun? {
        Begun::Running(session) => *session,
        Begun::Stopped(stop, remains) => return outcome(&stop, None, &remains, true),
    };
    let mut client = session.client.clone();
    let opened = view.open(&mut client, &session).await;
    let mut items = match opened {
        Ok(stream) => Items { stream, held: None },
        Err(failure) => return Err(after_teardown(session, failure, console).await),
    };
    let followed = follow(&mut session, &mut view, &mut items, &mut stops, plan.time).await;
    let time = session.began.elapsed();
    let stop = match followed {
        Ok(stop) => stop,
        Err(failure) => {
            if let Err(unwritten) = view.close().await {
                console.warning(&unwritten.what);
            }
            let failure = after_teardown(session, failure, console).await;
            console.say(&summary::captured(view.captured(), 1, time));
            // The ledgers are gone with the part that failed.
            console.say("lost unknown");
            return Err(failure);
        }
    };
    if let Stop::Ended(by) = &stop {
        console.say(&format!("session `{}` was ended by {by}", session.name));
    }
    let mut account = end(&mut session, &mut view, items, &mut stops, &stop).await;
    if let Err(failure) = view.close().await {
        account.failure.get_or_insert(failure);
    }
    if let Some(target) = &plan.save
        && !account.aborted
    {
        save(&mut session, target, &mut stops, &mut account, console).await;
    }
    let own = session.is_own();
    let mut balance = view.balance().cloned();
    // A viewer that leaves, or wants no more, misses nothing.
    if stop.prints_on() && (own || matches!(stop, Stop::Ended(_))) {
        let ledgers = account.balances.iter_mut().chain(balance.as_mut());
        summary::unprinted(ledgers, view.balance(), view.printed());
    }
    let remains = if account.aborted { session.abort() } else { session.finish().await };
    report(&plan, &view, &account, &remains, console);
    console.say(&summary::captured(view.captured(), account.nodes.max(1), time));
    console.say(&summary::lost(&summary::relevant(&account.balances, balance.as_ref())));
    outcome(&stop, account.failure, &remains, own)
}

async fn begin(choice: &Choice, console: &mut Console, stops: &mut Stops) -> Result<Begun, Failure> {
    match choice {
        Choice::New(wanted) => Session::start_local(*wanted.clone(), console, stops).await,
        Choice::Join(name) => tokio::select! {
            joined = Session::join_local(name) => joined.map(|session| Begun::Running(Box::new(session))),
            stop = stops.next() => Ok(Begun::Stopped(stop, Remains::default())),
        },
    }
}

/// Shows what comes until something stops it.
async fn follow<V: View>(
    session: &mut Session,
    view: &mut V,
    items: &mut Items<V::Item>,
    stops: &mut Stops,
    time: Option<Duration>,
) -> Result<Stop, Failure> {
    let deadline = async {
        match time {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            held = items.hold(), if items.held.is_none() => match held {
                Ok(true) => {}
                // Why it broke is told by a notice, which names the part that is gone.
                Ok(false) => return unexpected_end(session, None).await,
                Err(failure) => return unexpected_end(session, Some(failure)).await,
            },
            ready = view.ready(), if items.held.is_some() => {
                if !ready {
                    return Ok(Stop::Closed);
                }
                if let Some(item) = items.held.take() {
                    match view.take(item)? {
                        Flow::More => {}
                        Flow::Enough => return Ok(Stop::Count),
                        Flow::Closed => return Ok(Stop::Closed),
                        Flow::Last => return ended_by(session).await,
                    }
                }
            }
            () = view.ended() => return Ok(Stop::Closed),
            stop = stops.next() => return Ok(stop),
            Some(notice) = session.notices.recv() => match notice {
                Notice::Lost(failure) => return Err(failure),
                // The last items and then the end follow on the stream.
                Notice::Ended(by) if session.is_own() => return Ok(Stop::Ended(by)),
                Notice::Ended(by) => session.ended_by = Some(by),
            },
            () = &mut deadline => return Ok(Stop::Time),
        }
    }
}

/// The stream ended without the hub's word that the session did: waits for the reason.
async fn unexpected_end(session: &mut Session, failure: Option<Failure>) -> Result<Stop, Failure> {
    if session.ended_by.is_some() {
        return ended_by(session).await;
    }
    match tokio::time::timeout(LAST_ITEMS, session.notices.recv()).await {
        Ok(Some(Notice::Lost(failure))) => Err(failure),
        Ok(Some(Notice::Ended(by))) => Ok(Stop::Ended(by)),
        Ok(None) | Err(_) => Err(failure.unwrap_or_else(|| Failure::new("the hub ended the stream"))),
    }
}

/// The hub said that nothing follows; who ended the session is told beside the stream.
async fn ended_by(session: &mut Session) -> Result<Stop, Failure> {
    if let Some(by) = session.ended_by.take() {
        return Ok(Stop::Ended(by));
    }
    match tokio::time::timeout(LAST_ITEMS, session.notices.recv()).await {
        Ok(Some(Notice::Ended(by))) => Ok(Stop::Ended(by)),
        Ok(Some(Notice::Lost(_)) | None) | Err(_) => Ok(Stop::Ended("its starter".to_owned())),
    }
}

/// Drains a session that this plugin started; looks at the ledgers of one that it joined.
async fn end<V: View>(
    session: &mut Session,
    view: &mut V,
    items: Items<V::Item>,
    stops: &mut Stops,
    stop: &Stop,
) -> Account {
    let mut client = session.client.clone();
    let mut account = Account::default();
    if let Ok(Ok(state)) = tokio::time::timeout(LAST_ITEMS, client.describe()).await {
        account.nodes = state.capturers.len();
        account.balances = state.balances;
    }
    if !session.is_own() || matches!(stop, Stop::Ended(_)) {
        return account;
    }
    let by = format!("its starter ({})", stop.reason());
    let drained = async { client.drain(by, DRAIN).await };
    let rest = rest(view, items, stop.prints_on());
    let both = async {
        let mut rest = std::pin::pin!(rest);
        let mut drained = std::pin::pin!(drained);
        tokio::select! {
            shown = &mut rest => (shown, drained.await),
            drained = &mut drained => {
                let shown = tokio::time::timeout(LAST_ITEMS, &mut rest).await.unwrap_or(Ok(()));
                (shown, drained)
            }
        }
    };
    tokio::select! {
        (shown, drained) = both => {
            account.failure = shown.err();
            match drained {
                Ok(answer) => {
                    account.balances = answer.balances;
                    account.unconfirmed = answer.unconfirmed;
                }
                Err(failure) => {
                    account.failure.get_or_insert(failure);
                }
            }
        }
        failure = lost(&mut session.notices) => account.failure = Some(failure),
        _signal = stops.next_signal() => account.aborted = true,
        () = tokio::time::sleep(DRAIN + LAST_ITEMS) => {
            account.failure = Some(Failure::new("the hub did not drain in time"));
        }
    }
    account
}

/// Shows what still arrives until the hub says that nothing follows.
async fn rest<V: View>(view: &mut V, mut items: Items<V::Item>, print: bool) -> Result<(), Failure> {
    let mut showing = print;
    while items.held.is_some() || items.hold().await? {
        let Some(item) = items.held.take() else { continue };
        if !showing {
            continue;
        }
        showing = view.ready().await;
        if showing {
            match view.take(item)? {
                Flow::More => {}
                Flow::Enough | Flow::Closed => showing = false,
                Flow::Last => return Ok(()),
            }
        }
    }
    Ok(())
}

async fn lost(notices: &mut tokio::sync::mpsc::Receiver<Notice>) -> Failure {
    loop {
        match notices.recv().await {
            Some(Notice::Lost(failure)) => return failure,
            Some(Notice::Ended(_)) => {}
            None => std::future::pending().await,
        }
    }
}

async fn save(
    session: &mut Session,
    target: &Target,
    stops: &mut Stops,
    account: &mut Account,
    console: &mut Console,
) {
    let mut client = session.client.clone();
    let began = Instant::now();
    let shown = target.path().display();
    let saved = tokio::select! {
        saved = save::pull(&mut client, target, console) => saved,
        failure = lost(&mut session.notices) => Err(failure),
        _signal = stops.next_signal() => Err(Failure::new("saving was skipped")
            .hint(format!("`{shown}` is not complete"))),
    };
    console.clear();
    match saved {
        Ok(rows) => {
            let rows = crate::render::units::count(rows);
            console
                .say(&format!("saved {rows} exchanges to {shown} in {:.1}s", began.elapsed().as_secs_f64()));
        }
        Err(failure) => {
            account.failure.get_or_insert(failure);
        }
    }
}

/// Tears down after a failure and returns it, with what could not be removed.
async fn after_teardown(session: Session, failure: Failure, console: &Console) -> Failure {
    let remains = session.finish().await;
    say_kept(&remains, console);
    for left in &remains.left {
        console.warning(&format!("could not remove {left}"));
    }
    failure
}

fn say_kept(remains: &Remains, console: &Console) {
    if let Some(path) = &remains.kept {
        console.say(&format!("kept the store in {}", path.display()));
        console.hint(&format!("read it with `kubectl kyanos query --store sqlite:{}`", path.display()));
    }
}

fn report<V: View>(plan: &Plan, view: &V, account: &Account, remains: &Remains, console: &Console) {
    if !account.unconfirmed.is_empty() {
        console.warning(&format!(
            "capturers that did not confirm their end: {}",
            account.unconfirmed.join(", ")
        ));
    }
    if account.aborted {
        console.warning("stopped at once: what was still on its way is not counted");
    }
    say_kept(remains, console);
    if plan.hint_at_keeping && view.captured() > 0 {
        console.hint(
            "the store is gone with the session; `--keep` or `--save FILE.sqlite` keeps it for `query`",
        );
    }
    for balance in &account.balances {
        console.detail(&summary::ledger(balance));
    }
}

fn outcome(stop: &Stop, failure: Option<Failure>, remains: &Remains, own: bool) -> Result<u8, Failure> {
    if own && !remains.left.is_empty() {
        return Err(Failure::new(format!("could not remove {}", remains.left.join(", ")))
            .hint("run `kubectl kyanos cleanup --local`"));
    }
    match failure {
        Some(failure) => Err(Failure { exit: FAILED, ..failure }),
        None => Ok(stop.exit()),
    }
}
