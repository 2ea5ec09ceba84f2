//! A command that captures: begin or join a session, follow it, end it, account for it.

mod ending;
mod following;
mod run;
pub(crate) mod session;
mod storing;
pub(crate) mod view;
pub(crate) mod viewed;

use std::time::Duration;

use jiff::tz::TimeZone;
use proto::launch::StoreChoice;

use self::ending::Account;
pub(crate) use self::run::run;
use self::session::{New, Session, Started, Where};
use self::view::View;
use crate::cluster::session::{Begun, DELETIONS_TIMEOUT};
use crate::console::Console;
use crate::failure::{FAILED, Failure};
use crate::render::{summary, unseen};
use crate::save::Target;
use crate::session::{Kept, Remains};
use crate::stop::{Stop, Stops};
use crate::store::SessionStore;

/// What a capturing command was asked for.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Where the session is or shall be.
    pub(crate) place: Where,
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
    New(Box<New>),
    /// A running one.
    Join(String),
}

// === impl Plan ===

impl Plan {
    /// Whether what is stored outlives the session.
    fn stores(&self) -> bool {
        self.save.is_some() || self.needs_store()
    }

    /// Whether the store itself does, so that a file of it is not enough.
    fn needs_store(&self) -> bool {
        let given = |new: &New| matches!(new.wanted.store, SessionStore::Given(StoreChoice::Mysql { .. }));
        self.keeps() || matches!(&self.session, Choice::New(new) if given(new))
    }

    /// Whether hub and store of the session stay, too.
    fn keeps(&self) -> bool {
        matches!(&self.session, Choice::New(new) if new.wanted.keep)
    }
}

async fn begin(
    plan: &Plan,
    begun: &Begun,
    stops: &mut Stops,
    console: &mut Console,
) -> Result<Started, Failure> {
    match &plan.session {
        Choice::New(new) => Box::pin(Session::start(&plan.place, *new.clone(), begun, console, stops)).await,
        Choice::Join(name) => tokio::select! {
            joined = Session::join(&plan.place, name, console) => {
                joined.map(|session| Started::Running(Box::new(session)))
            }
            stop = stops.next() => Ok(Started::Stopped(stop, Remains::default())),
        },
    }
}

/// Removes what a start made that failed or was stopped.
async fn unfinished(
    begun: &Begun,
    outcome: Result<u8, Failure>,
    stops: &mut Stops,
    console: &mut Console,
) -> Result<u8, Failure> {
    console.clear();
    let Some(name) = begun.name() else {
        return outcome;
    };
    console.step(format!("removing session {name} …"));
    let going = Remains { going: begun.going(), ..Remains::default() };
    let remains = hurried(Box::pin(begun.remove()), going, stops.next_signal()).await;
    console.clear();
    remains.say_unconfirmed(console);
    let cleanup = format!("kubectl kyanos cleanup {name}");
    if let Some(going) = &remains.going {
        let unawaited = goes_on(going, &cleanup);
        if outcome.is_ok() {
            return Err(unawaited);
        }
        console.warning(&unawaited.what);
    }
    let left = remains.left;
    if left.is_empty() {
        return outcome;
    }
    let hint = format!("run `{cleanup}`");
    match outcome {
        Err(failure) => {
            console.warning(&format!("could not remove {}", left.join(", ")));
            console.hint(&hint);
            Err(failure)
        }
        Ok(_stopped) => Err(Failure::new(format!("could not remove {}", left.join(", "))).hint(hint)),
    }
}

/// Ends a session and removes it; a signal leaves the rest of that to the cluster.
async fn finish(session: Session, stops: &mut Stops, console: &mut Console) -> Remains {
    let Some(otherwise) = session.remains() else {
        return session.finish().await;
    };
    console.step(format!("removing session {} …", session.name));
    let remains = hurried(Box::pin(session.finish()), otherwise, stops.next_signal()).await;
    console.clear();
    remains.say_unconfirmed(console);
    remains
}

/// Removes until a signal says that this takes too long: then only until the cluster has been asked for it, and what
/// remains is what else the command can say. Signals may come together, before anything was asked.
async fn hurried<S>(
    mut removal: impl Future<Output = Remains> + Unpin,
    otherwise: Remains,
    signal: impl Future<Output = S>,
) -> Remains {
    tokio::select! {
        remains = &mut removal => return remains,
        _signal = signal => {}
    }
    tokio::time::timeout(DELETIONS_TIMEOUT, removal).await.unwrap_or(otherwise)
}

/// Tears down after a failure and returns it, with what could not be removed.
async fn after_teardown(
    session: Session,
    failure: Failure,
    stops: &mut Stops,
    console: &mut Console,
) -> Failure {
    let cleanup = session.cleanup();
    let remains = finish(session, stops, console).await;
    say_kept(&remains, None, console);
    if let Some(going) = &remains.going {
        console.warning(&goes_on(going, &cleanup).what);
    }
    for left in &remains.left {
        console.warning(&format!("could not remove {left}"));
    }
    if !remains.left.is_empty() {
        console.hint(&format!("run `{cleanup}`"));
    }
    failure
}

/// What nobody saw of the nodes, in lines.
fn not_seen(session: &Session) -> Vec<String> {
    unseen::lines(&session.sight.holes(), &TimeZone::system())
}

fn say_all(lines: &[String], console: &Console) {
    for line in lines {
        console.say(line);
    }
}

/// Says what is kept; where its store is not there yet, that so many exchanges are `waiting` for it.
fn say_kept(remains: &Remains, waiting: Option<u64>, console: &Console) {
    match &remains.kept {
        Some(Kept::File(path)) => {
            console.say(&format!("kept the store in {}", path.display()));
            console.hint(&format!("read it with `kubectl kyanos query --store sqlite:{}`", path.display()));
        }
        Some(Kept::Session { name, ttl }) => {
            let time = crate::render::units::age(ttl.as_secs());
            if let Some(waiting) = waiting {
                let waiting = crate::render::units::count(waiting);
                console.warning(&format!(
                    "session `{name}` stays for {time}, but its store is not there yet: {waiting} exchanges wait in its hub"
                ));
            } else {
                console.say(&format!("kept session `{name}` with its store for {time}"));
            }
            console.hint(&format!(
                "ask it with `kubectl kyanos query --session {name}`, remove it with `kubectl kyanos cleanup {name}`"
            ));
        }
        None => {}
    }
}

fn report<V: View>(plan: &Plan, view: &V, account: &Account, remains: &Remains, console: &Console) {
    if !account.unconfirmed.is_empty() {
        console.warning(&format!(
            "capturers that did not confirm their end: {}",
            account.unconfirmed.join(", ")
        ));
    }
    if let Some(why) = &account.broke {
        console.warning(&format!("the stream broke at the end, what was on its way is not shown: {why}"));
    }
    if account.aborted {
        console.warning("stopped at once: what was still on its way is not counted");
    }
    if account.clamped > 0 {
        console.say(&summary::clamped(account.clamped));
    }
    say_kept(remains, account.waiting, console);
    if plan.hint_at_keeping && view.captured() > 0 {
        console.hint(
            "the store is gone with the session; `--keep` or `--save FILE.sqlite` keeps it for `query`",
        );
    }
    for balance in &account.balances {
        console.detail(&summary::ledger(balance));
    }
}

fn outcome(
    stop: &Stop,
    failure: Option<Failure>,
    remains: &Remains,
    cleanup: Option<&str>,
) -> Result<u8, Failure> {
    if let Some(cleanup) = cleanup
        && !remains.left.is_empty()
    {
        return Err(Failure::new(format!("could not remove {}", remains.left.join(", ")))
            .hint(format!("run `{cleanup}`")));
    }
    if let (Some(going), Some(cleanup)) = (&remains.going, cleanup) {
        return Err(goes_on(going, cleanup));
    }
    match failure {
        Some(failure) => Err(Failure { exit: FAILED, ..failure }),
        None => Ok(stop.exit()),
    }
}

/// Says that the cluster removes the rest: it was asked to, and else misses this command within a minute.
fn goes_on(going: &str, cleanup: &str) -> Failure {
    Failure::new(format!("stopped at once: removal goes on in the cluster, of {going}"))
        .hint(format!("`kubectl kyanos status` shows whether it is gone, `{cleanup}` waits for it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_removal_is_asked_for_however_soon_the_next_signal_comes() {
        let asked = std::cell::Cell::new(false);
        let removal = async {
            tokio::time::sleep(DELETIONS_TIMEOUT / 2).await;
            asked.set(true);
            std::future::pending().await
        };
        let otherwise = Remains { going: Some("namespace `kyanos-a`".to_owned()), ..Remains::default() };
        let began = tokio::time::Instant::now();
        let remains = hurried(Box::pin(removal), otherwise, std::future::ready(())).await;
        assert!(asked.get() && remains.going.is_some());
        assert_eq!(began.elapsed(), DELETIONS_TIMEOUT);
        // One that is done is not waited for.
        let done = Box::pin(async { Remains::default() });
        let remains = hurried(done, remains, std::future::pending::<()>()).await;
        assert!(remains.going.is_none());
    }

    #[test]
    fn a_removal_that_is_not_waited_for_is_told_as_one_that_goes_on() {
        let cleanup = "kubectl kyanos cleanup orders";
        let going = Some("namespace `kyanos-orders` with all that is in it".to_owned());
        let remains = Remains { going: going.clone(), ..Remains::default() };
        let told = outcome(&Stop::Interrupt, None, &remains, Some(cleanup)).expect_err("it is not gone yet");
        assert_eq!(told.exit, FAILED);
        assert!(told.what.contains("removal goes on in the cluster"), "{}", told.what);
        assert!(told.what.contains("kyanos-orders") && !told.what.contains("could not"), "{}", told.what);
        assert!(told.hint.is_some_and(|hint| hint.contains(cleanup)));
        // What was refused is told as that, and what is gone as nothing.
        let left = Remains { left: vec!["pod `hub`".to_owned()], going, ..Remains::default() };
        let told = outcome(&Stop::Interrupt, None, &left, Some(cleanup)).expect_err("something is left");
        assert_eq!(told.what, "could not remove pod `hub`");
        assert_eq!(outcome(&Stop::Interrupt, None, &Remains::default(), Some(cleanup)), Ok(130));
    }
}
