//! The end of a capture of which something is to stay: a store that is late is waited for, and the file is written.
//!
//! A file needs no store: where that never answered, the hub itself gives what waits for it. Only what is to be in the
//! store, of a session that is kept or in a database of the user's, has to wait until it is there.

use std::time::{Duration, Instant};

use proto::{store_state, v1};

use super::Plan;
use super::ending::{Account, lost};
use super::session::Session;
use crate::cluster::progress::Pods;
use crate::console::Console;
use crate::failure::Failure;
use crate::render::summary;
use crate::render::units::{age, count};
use crate::save::{self, Target};
use crate::stop::Stops;

/// Longest that a store is waited for: over a slow line the first pull of a database's image takes minutes.
const STORE_TIMEOUT: Duration = Duration::from_mins(10);

/// Between two looks at the store.
const STORE_POLL: Duration = Duration::from_millis(500);

/// How long a hub that does not answer is asked again while its store is waited for.
const HUB_TIMEOUT: Duration = Duration::from_mins(1);

/// What a store that is given up may still take.
const GIVE_UP_TIMEOUT: Duration = Duration::from_secs(1);

/// What to try where what was captured goes with its session.
const KEEP_HINT: &str =
    "what was captured goes with the session; start it with `--keep`, and the store can be asked afterwards";

/// Why a store does not have all that was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// No waiting helps.
    Lasting,
    /// It took too long.
    Late,
    /// The hub does not answer: nobody knows what is stored.
    Unheard,
    /// The user did not want to wait.
    Skipped,
}

/// A store that does not have all that was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Short {
    why: Why,
    what: String,
    hint: Option<&'static str>,
}

/// Why a store does not start, as its pod shows, and what to try.
type Trouble = (String, &'static str);

/// What a look at a store says.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// It has everything.
    Whole,
    /// It may come to have it; so many exchanges wait.
    Waits(u64),
    /// It will not.
    Fails(Short),
}

/// Waits for the store where it must, saves, and closes the ledgers.
pub(super) async fn see_to(
    plan: &Plan,
    session: &mut Session,
    stops: &mut Stops,
    account: &mut Account,
    console: &mut Console,
) {
    let waits = account.drained && plan.stores();
    let short = if waits { store(plan.needs_store(), session, stops, console).await } else { None };
    if let Some(target) = &plan.save {
        save(session, target, short.as_ref(), stops, account, console).await;
    }
    if !waits {
        return;
    }
    let stays = plan.keeps() && short.as_ref().is_none_or(|short| short.why != Why::Lasting);
    close(session, stays && short.is_some(), account).await;
    let Some(short) = short.filter(|_| plan.needs_store()) else { return };
    if plan.keeps() && holds_nothing(&short, account) {
        session.forgo_keeping();
    }
    say(&short, plan.keeps(), account, console);
}

/// Whether a store has nothing and never will; one that could not be asked may have everything.
fn holds_nothing(short: &Short, account: &Account) -> bool {
    short.why == Why::Lasting && account.stored == Some(0)
}

/// Says what is not where it was to be.
fn say(short: &Short, keeps: bool, account: &mut Account, console: &Console) {
    let Short { why, what, hint } = short;
    let failure = match (why, keeps) {
        // The hub of a kept session goes on: this is what the user chose.
        (Why::Skipped, true) => return console.warning(&format!("the store was not waited for: {what}")),
        (Why::Late, true) => Failure::new(format!("the store is not there in time: {what}")),
        (Why::Unheard, true) => Failure::new(format!("whether all is stored is not known: {what}")),
        (Why::Lasting, true) if holds_nothing(short, account) => {
            Failure::new(format!("nothing is kept, since nothing is stored: {what}"))
        }
        (Why::Lasting, true) => Failure::new(format!("not all is stored: {what}")),
        (Why::Skipped | Why::Late | Why::Unheard | Why::Lasting, false) => {
            Failure::new(format!("not all that was captured is in the store: {what}"))
        }
    };
    let failure = match hint {
        Some(hint) => failure.hint(*hint),
        None => failure,
    };
    account.failure.get_or_insert(failure);
}

/// Takes the last account; what waits for a store is given up unless it may go on waiting.
async fn close(session: &mut Session, lags: bool, account: &mut Account) {
    let mut client = session.client.clone();
    if !lags && let Ok(answer) = client.drain(String::new(), GIVE_UP_TIMEOUT, false).await {
        account.balances = summary::read(&answer.balances);
    }
    if let Ok(state) = client.describe().await {
        if lags {
            account.balances = summary::read(&state.balances);
        }
        (account.waiting, account.stored) = (lags.then_some(state.waiting), Some(state.stored));
    }
}

/// Waits until the store has everything; returns why it does not.
async fn store(
    needed: bool,
    session: &mut Session,
    stops: &mut Stops,
    console: &mut Console,
) -> Option<Short> {
    let client = session.client.clone();
    let describe = || {
        let mut client = client.clone();
        async move { client.describe().await }
    };
    match describe().await {
        // The file is written from what the hub holds.
        Ok(state) if !needed && is_starting(&state) => return None,
        Ok(state) if look(&state, None) == Look::Whole => return None,
        Ok(_) | Err(_) => {}
    }
    let mut pods = session.pods();
    let trouble = || pods.as_mut().and_then(Pods::store_trouble);
    let short = tokio::select! {
        short = wait(describe, trouble, console) => short,
        failure = lost(&mut session.notices) => {
            Some(Short { why: Why::Unheard, what: failure.what, hint: None })
        }
        signal = stops.next_signal() => {
            let what = format!("{} ended the wait", signal.reason());
            Some(Short { why: Why::Skipped, what, hint: None })
        }
    };
    console.clear();
    short
}

/// Looks again and again, as long as there is hope.
async fn wait<F: Future<Output = Result<v1::DescribeResponse, Failure>>>(
    mut describe: impl FnMut() -> F,
    mut trouble: impl FnMut() -> Option<Trouble>,
    console: &mut Console,
) -> Option<Short> {
    let began = tokio::time::Instant::now();
    let mut heard = tokio::time::Instant::now();
    let mut said = false;
    let mut reason = String::new();
    while began.elapsed() < STORE_TIMEOUT {
        match describe().await {
            Ok(state) => {
                heard = tokio::time::Instant::now();
                match look(&state, trouble()) {
                    Look::Whole => return None,
                    Look::Fails(short) => return Some(short),
                    Look::Waits(waiting) => {
                        reason = store_state::in_full(&state.store.unwrap_or_default());
                        let line = waits(waiting, &reason, STORE_TIMEOUT.saturating_sub(began.elapsed()));
                        if !said {
                            console.say(&line);
                            said = true;
                        }
                        console.step(line);
                    }
                }
            }
            Err(failure) if failure.passing && heard.elapsed() < HUB_TIMEOUT => {}
            Err(failure) => return Some(Short { why: Why::Unheard, what: failure.what, hint: None }),
        }
        tokio::time::sleep(STORE_POLL).await;
    }
    let what = format!("it did not take all within {}: {reason}", age(STORE_TIMEOUT.as_secs()));
    Some(Short { why: Why::Late, what, hint: None })
}

fn waits(waiting: u64, reason: &str, left: Duration) -> String {
    let exchanges = count(waiting);
    let left = age(left.as_secs());
    format!("{exchanges} exchanges wait for the store ({reason}), at most {left} more; Ctrl-C skips this")
}

/// Reads how the store is, and what its pod shows.
fn look(state: &v1::DescribeResponse, trouble: Option<Trouble>) -> Look {
    let store = state.store.clone().unwrap_or_default();
    let ready = store_state::is_ready(&store);
    if ready && state.waiting == 0 || state.store.is_none() {
        return Look::Whole;
    }
    if let Some((reason, hint)) = trouble.filter(|_| !ready) {
        let what = format!("the store does not start: {reason}");
        return Look::Fails(Short { why: Why::Lasting, what, hint: Some(hint) });
    }
    match store_state::beyond_waiting(&store) {
        Some(reason) => {
            let what = format!("the store cannot be used: {reason}");
            Look::Fails(Short { why: Why::Lasting, what, hint: None })
        }
        None => Look::Waits(state.waiting),
    }
}

fn is_starting(state: &v1::DescribeResponse) -> bool {
    state.store.as_ref().is_some_and(store_state::is_starting)
}

/// Says that a command that was stopped at once wrote no file.
pub(super) fn stopped(plan: &Plan, account: &mut Account) {
    if let Some(target) = &plan.save {
        account.failure.get_or_insert(unsaved(Failure::new("saving was skipped"), target));
    }
}

async fn save(
    session: &mut Session,
    target: &Target,
    short: Option<&Short>,
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
        _signal = stops.next_signal() => Err(Failure::new("saving was skipped")),
    };
    console.clear();
    match saved {
        Ok(rows) => {
            let rows = count(rows);
            console
                .say(&format!("saved {rows} exchanges to {shown} in {:.1}s", began.elapsed().as_secs_f64()));
            if let Some(Short { what, .. }) = short {
                let lacks = format!("`{shown}` lacks what the store did not take: {what}");
                account.failure.get_or_insert(Failure::new(lacks));
            }
        }
        Err(failure) => {
            account.failure.get_or_insert(unsaved(failure, target));
        }
    }
}

/// Says that there is no file, and what to do.
fn unsaved(failure: Failure, target: &Target) -> Failure {
    let shown = target.path().display();
    let what = format!("`{shown}` was not written: {}", failure.what);
    let hint = failure.hint.clone().unwrap_or_else(|| KEEP_HINT.to_owned());
    Failure { what, ..failure }.hint(hint)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use proto::v1::store_state::Kind;

    use super::*;

    fn state(kind: Kind, waiting: u64) -> v1::DescribeResponse {
        let store = Some(v1::StoreState { kind: Some(kind) });
        v1::DescribeResponse { store, waiting, ..v1::DescribeResponse::default() }
    }

    fn starting(waiting: u64) -> v1::DescribeResponse {
        state(Kind::Starting(v1::StoreStarting { reason: "no socket".to_owned() }), waiting)
    }

    fn ready(waiting: u64) -> v1::DescribeResponse {
        state(Kind::Ready(v1::StoreReady {}), waiting)
    }

    fn down(failure: v1::FailureKind, waiting: u64) -> v1::DescribeResponse {
        let down = v1::StoreDown { reason: "no grant".to_owned(), failure: failure.into() };
        state(Kind::Down(down), waiting)
    }

    type Answers = Vec<Result<v1::DescribeResponse, Failure>>;

    /// Waits with a hub that says this, the last of it for ever, and a pod that is in trouble after so many looks.
    async fn waited(answers: Answers, trouble_after: Option<usize>) -> (Option<Short>, Duration) {
        let answers = RefCell::new(VecDeque::from(answers));
        let describe = || {
            let mut answers = answers.borrow_mut();
            let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
            std::future::ready(next.expect("an answer"))
        };
        let mut looks = 0;
        let trouble = || {
            looks += 1;
            let trouble = ("image `x` cannot be pulled: not found".to_owned(), "choose another");
            trouble_after.is_some_and(|after| looks > after).then_some(trouble)
        };
        let began = tokio::time::Instant::now();
        let short = wait(describe, trouble, &mut Console::new(false, false)).await;
        (short, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_comes_late_is_waited_for_until_it_has_everything() {
        let answers = vec![Ok(starting(9)), Ok(starting(9)), Ok(ready(9)), Ok(ready(4)), Ok(ready(0))];
        let (short, after) = waited(answers, None).await;
        assert_eq!((short, after), (None, STORE_POLL * 4));
        // An outage, and a hub that is away for a moment.
        let away = || Err(Failure::new("the connection broke").passing());
        let passing = down(v1::FailureKind::Passing, 3);
        let (short, _) = waited(vec![Ok(passing), away(), away(), Ok(ready(0))], None).await;
        assert_eq!(short, None);
        // Nothing waits, and yet nobody knows whether it will ever take anything.
        let (short, after) = waited(vec![Ok(starting(0)), Ok(ready(0))], None).await;
        assert_eq!((short, after), (None, STORE_POLL));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pull_that_cannot_succeed_ends_the_wait_with_its_reason() {
        let (short, after) = waited(vec![Ok(starting(9))], Some(3)).await;
        let short = short.expect("it fails");
        assert_eq!((short.why, short.hint, after), (Why::Lasting, Some("choose another"), STORE_POLL * 3));
        assert!(short.what.contains("cannot be pulled: not found"), "{}", short.what);
        let (short, after) = waited(vec![Ok(down(v1::FailureKind::Final, 9))], None).await;
        let short = short.expect("it fails");
        assert_eq!((short.why, after), (Why::Lasting, Duration::ZERO));
        assert!(short.what.contains("no grant"), "{}", short.what);
        // A store that takes rows is in no trouble, whatever its pod showed before.
        let (short, _) = waited(vec![Ok(ready(5)), Ok(ready(0))], Some(0)).await;
        assert_eq!(short, None);
    }

    #[tokio::test(start_paused = true)]
    async fn no_wait_is_without_end() {
        let (short, after) = waited(vec![Ok(starting(9))], None).await;
        let short = short.expect("it is late");
        assert_eq!(short.why, Why::Late);
        assert!(after >= STORE_TIMEOUT && after < STORE_TIMEOUT + STORE_POLL, "{after:?}");
        assert!(short.what.contains("no socket"), "{}", short.what);
        let gone = || Err(Failure::new("the connection broke").passing());
        let (short, after) = waited(vec![Ok(starting(9)), gone()], None).await;
        assert_eq!(short.expect("the hub is gone").why, Why::Unheard);
        assert!(after >= HUB_TIMEOUT && after < HUB_TIMEOUT + STORE_POLL * 2, "{after:?}");
    }

    #[test]
    fn what_is_not_stored_is_never_called_kept() {
        let short = |why| Short { why, what: "image x".to_owned(), hint: Some("choose") };
        let told = |why, keeps, stored| {
            let mut account = Account { stored, ..Account::default() };
            say(&short(why), keeps, &mut account, &Console::new(false, false));
            account.failure.map(|failure| failure.what)
        };
        let nothing = told(Why::Lasting, true, Some(0)).expect("a failure");
        assert!(nothing.starts_with("nothing is kept") && nothing.contains("image x"), "{nothing}");
        let some = told(Why::Lasting, true, Some(5)).expect("a failure");
        assert!(some.starts_with("not all is stored"), "{some}");
        assert_eq!(told(Why::Skipped, true, Some(0)), None, "the user chose it, and the hub goes on");
        assert!(told(Why::Late, true, Some(0)).is_some());
        // What nobody could ask may hold everything.
        for why in [Why::Unheard, Why::Lasting] {
            let unknown = told(why, true, None).expect("a failure");
            assert!(!unknown.contains("nothing"), "{unknown}");
        }
        for why in [Why::Lasting, Why::Late, Why::Unheard, Why::Skipped] {
            assert!(told(why, false, Some(5)).expect("a failure").contains("in the store"));
        }
    }

    #[test]
    fn a_failed_save_says_that_there_is_no_file_and_what_to_do() {
        let folder = tempfile::tempdir().expect("folder");
        let target = Target::new(&folder.path().join("orders.csv")).expect("a target");
        let plain = unsaved(Failure::new("the disk is full"), &target);
        assert!(plain.what.contains("orders.csv` was not written: the disk is full"), "{}", plain.what);
        assert!(plain.hint.is_some_and(|hint| hint.contains("--keep")));
        let hinted = unsaved(Failure::new("no").hint("do this"), &target);
        assert_eq!(hinted.hint.as_deref(), Some("do this"));
    }
}
