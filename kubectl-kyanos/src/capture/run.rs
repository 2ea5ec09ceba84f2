//! The steps of a command that captures, in their order.

use std::time::{Duration, Instant};

use proto::account::Balance;

use super::ending::{Account, Ending, end};
use super::following::Following;
use super::session::{Session, Started, Where};
use super::view::{Items, View};
use super::{
    Plan, after_teardown, begin, finish, not_seen, outcome, report, say_all, storing, unfinished, viewed,
};
use crate::cluster::session::Begun;
use crate::console::Console;
use crate::failure::Failure;
use crate::local;
use crate::render::summary;
use crate::session::Remains;
use crate::stop::{Stop, Stops};

/// A command that captures, and whom it talks to.
struct Run<'a, V> {
    plan: &'a Plan,
    view: &'a mut V,
    stops: &'a mut Stops,
    console: &'a mut Console,
}

/// What is counted from when all nodes capture.
struct Whole {
    /// What stopped the waiting for them.
    stopped: Option<Stop>,
    /// Exchanges that were delivered until then.
    before: u64,
}

/// A session that was shown until something stopped it.
struct Shown<I> {
    stop: Stop,
    items: Items<I>,
    /// As in [`Whole`].
    before: u64,
    time: Duration,
}

/// What is known of a session that is gone by now.
struct Left {
    account: Account,
    /// Of this viewer.
    balance: Option<Balance>,
    nodes: usize,
    holes: Vec<String>,
    remains: Remains,
    /// What removes the rest, where it was this plugin's own.
    cleanup: Option<String>,
}

/// Runs a capturing command to its end and returns the exit code.
pub(crate) async fn run<V: View>(plan: Plan, mut view: V, console: &mut Console) -> Result<u8, Failure> {
    let mut stops = Stops::listen()?;
    let mut run = Run { plan: &plan, view: &mut view, stops: &mut stops, console };
    let mut session = match run.start().await {
        Ok(session) => session,
        Err(outcome) => return outcome,
    };
    let Whole { stopped, before } = run.wait_for_all(&mut session).await;
    run.console.clear();
    let mut items = match run.view.open(&mut session.client.clone(), &session).await {
        Ok(stream) => Items { stream, held: None },
        Err(failure) => return Err(after_teardown(session, failure, run.stops, run.console).await),
    };
    let followed = match stopped {
        Some(stop) => Ok(stop),
        None => run.follow(&mut session, &mut items).await,
    };
    let time = session.began.elapsed();
    match followed {
        Ok(stop) => run.conclude(session, Shown { stop, items, before, time }).await,
        Err(failure) => Err(run.break_off(session, failure, time).await),
    }
}

// === impl Run ===

impl<V: View> Run<'_, V> {
    /// Begins or joins the session; else what came of the command.
    async fn start(&mut self) -> Result<Session, Result<u8, Failure>> {
        let begun = Begun::default();
        // Boxed: a start holds much between its many steps.
        let started = Box::pin(begin(self.plan, &begun, self.stops, self.console)).await;
        let outcome = match started {
            Ok(Started::Running(session)) => return Ok(*session),
            Ok(Started::Stopped(stop, remains)) => {
                let local = matches!(self.plan.place, Where::Local).then_some(local::CLEANUP_COMMAND);
                outcome(&stop, None, &remains, local)
            }
            Err(failure) => Err(failure),
        };
        Err(unfinished(&begun, outcome, self.stops, self.console).await)
    }

    /// Waits until all nodes capture, from when on time and exchanges are counted, where the view sums up.
    async fn wait_for_all(&mut self, session: &mut Session) -> Whole {
        if !(self.view.sums_up() && session.grows()) {
            return Whole { stopped: None, before: 0 };
        }
        self.console.step("waiting for all capturers …");
        let stopped = tokio::select! {
            () = session.whole() => None,
            stop = self.stops.next() => Some(stop),
        };
        session.began = Instant::now();
        let state = session.client.clone().describe().await;
        let before = state.map_or(0, |state| viewed::delivered(&summary::read(&state.balances)));
        Whole { stopped, before }
    }

    /// Shows what comes until something stops it.
    async fn follow(&mut self, session: &mut Session, items: &mut Items<V::Item>) -> Result<Stop, Failure> {
        let mut following = Following { session, stops: self.stops, console: self.console };
        following.follow(self.view, items, self.plan.time).await
    }

    /// Ends a session that cannot be followed any more: its ledgers are gone with the part that failed.
    async fn break_off(&mut self, mut session: Session, failure: Failure, time: Duration) -> Failure {
        if let Err(unwritten) = self.view.close().await {
            self.console.warning(&unwritten.what);
        }
        session.hear();
        let (nodes, holes) = (session.nodes(), not_seen(&session));
        let failure = after_teardown(session, failure, self.stops, self.console).await;
        self.say_totals(&holes, nodes, time, "lost unknown");
        failure
    }

    /// Ends a session that something stopped, sees to what was to be kept, and accounts for it.
    async fn conclude(mut self, mut session: Session, shown: Shown<V::Item>) -> Result<u8, Failure> {
        let Shown { stop, items, before, time } = shown;
        if let Stop::Ended(by) = &stop {
            self.console.say(&format!("session `{}` was ended by {by}", session.name));
        }
        let mut account = self.end(&mut session, &stop, items).await;
        let cleanup = session.is_own().then(|| session.cleanup());
        let balance = self.settle(&mut account, &stop, before, session.is_own());
        let (nodes, holes) = (session.nodes(), not_seen(&session));
        let remains = if account.aborted {
            session.abort().await
        } else {
            finish(session, self.stops, self.console).await
        };
        self.tell(Left { account, balance, nodes, holes, remains, cleanup }, &stop, time)
    }

    /// Ends capture, shows the rest, and sees to what is to be saved or kept.
    async fn end(&mut self, session: &mut Session, stop: &Stop, items: Items<V::Item>) -> Account {
        let ending = Ending { stop, stored: self.plan.stores() };
        let mut account = end(session, self.view, items, self.stops, ending).await;
        if let Err(failure) = self.view.close().await {
            account.failure.get_or_insert(failure);
        }
        if account.aborted {
            storing::stopped(self.plan, &mut account);
        } else {
            storing::see_to(self.plan, session, self.stops, &mut account, self.console).await;
        }
        account
    }

    /// Completes this viewer's ledger, which it returns, and those of the session by what was not printed.
    fn settle(&self, account: &mut Account, stop: &Stop, before: u64, is_own: bool) -> Option<Balance> {
        let mut balance = self.view.balance().cloned();
        if let Some(own) = balance.as_mut().filter(|own| is_own && summary::is_of_several(own)) {
            viewed::miss(own, &account.balances, before);
        }
        // A viewer that leaves, or wants no more, misses nothing.
        if stop.prints_on() && (is_own || matches!(stop, Stop::Ended(_))) {
            let ledgers = account.balances.iter_mut().chain(balance.as_mut());
            summary::unprinted(ledgers, self.view.balance(), self.view.printed());
        }
        balance
    }

    /// Says what came of it all.
    fn tell(&self, left: Left, stop: &Stop, time: Duration) -> Result<u8, Failure> {
        let Left { account, balance, nodes, holes, remains, cleanup } = left;
        report(self.plan, self.view, &account, &remains, self.console);
        // A hub that could not be asked has taken its ledgers along.
        let lost = if account.balances.is_empty() {
            "lost unknown".to_owned()
        } else {
            summary::lost(&summary::relevant(&account.balances, balance.as_ref()))
        };
        self.say_totals(&holes, nodes, time, &lost);
        outcome(stop, account.failure, &remains, cleanup.as_deref())
    }

    /// Says what nobody saw, and the totals, which are the last lines of every capture.
    fn say_totals(&self, holes: &[String], nodes: usize, time: Duration, lost: &str) {
        say_all(holes, self.console);
        self.console.say(&summary::captured(self.view.captured(), nodes, time));
        self.console.say(lost);
    }
}
