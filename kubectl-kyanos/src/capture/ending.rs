//! The end of a capturing command: the session is drained while what still comes is shown.

use std::time::{Duration, Instant};

use proto::account::{Balance, Consumer};
use proto::v1;
use tokio::time::timeout;

use super::session::Session;
use super::view::{Flow, Items, View};
use crate::client::Client;
use crate::failure::Failure;
use crate::render::summary;
use crate::session::Notice;
use crate::stop::{Stop, Stops};

/// Longest that capturers may take to send what they have.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a hub that takes the place of one that went away is waited for while the session ends.
const SUCCESSOR_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a store that goes with its session may take what it does not have yet: its server may not be up yet.
const LAST_ROWS_TIMEOUT: Duration = Duration::from_millis(500);

/// How long the stream may go on after the hub said that all is delivered.
const LAST_ITEMS_TIMEOUT: Duration = Duration::from_secs(3);

/// What a session's end has to see to.
#[derive(Debug)]
pub(super) struct Ending<'a> {
    /// What ended it.
    pub(super) stop: &'a Stop,
    /// Whether what is stored can be read afterwards.
    pub(super) stored: bool,
}

/// How a session ended.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// What each consumer was owed and got.
    pub(super) balances: Vec<Balance>,
    /// Capturers that did not confirm their end.
    pub(super) unconfirmed: Vec<String>,
    /// Exchanges of which a mark was observed out of order and moved.
    pub(super) clamped: u64,
    /// Why the stream broke while the session ended.
    pub(super) broke: Option<String>,
    /// Whether the hub said that capture ended, and what waits for the store goes on waiting.
    pub(super) drained: bool,
    /// Exchanges that go on waiting to be stored, where the store is not there yet.
    pub(super) waiting: Option<u64>,
    /// Exchanges that are stored, where the hub said so.
    pub(super) stored: Option<u64>,
    /// A second signal: nothing more is waited for.
    pub(super) aborted: bool,
    /// Why the session did not end as it should.
    pub(super) failure: Option<Failure>,
}

/// Drains a session that this plugin started; looks at the ledgers of one that it joined.
pub(super) async fn end<V: View>(
    session: &mut Session,
    view: &mut V,
    items: Items<V::Item>,
    stops: &mut Stops,
    Ending { stop, stored }: Ending<'_>,
) -> Account {
    let mut client = session.client.clone();
    let mut account = Account::default();
    if let Ok(Ok(state)) = timeout(LAST_ITEMS_TIMEOUT, client.describe()).await {
        account.balances = summary::read(&state.balances);
        account.clamped = state.clamped;
        see(session, &mut account.balances, state.sight);
    } else {
        session.hear();
    }
    if !session.is_own() || matches!(stop, Stop::Ended(_)) {
        return account;
    }
    let by = format!("its starter ({})", stop.reason());
    let mut asked = client.clone();
    let resumes = session.resumes();
    let drained = drain(&mut client, by, stored, resumes);
    let rest = rest(view, items, stop.prints_on());
    let announced = session.announce_end();
    let both = async {
        let mut rest = std::pin::pin!(rest);
        let mut drained = std::pin::pin!(drained);
        tokio::select! {
            shown = &mut rest => {
                let is_brief = !stored && shown.is_ok();
                let patience = if is_brief { LAST_ROWS_TIMEOUT } else { DRAIN_TIMEOUT };
                let announced = async {
                    if is_brief {
                        timeout(LAST_ROWS_TIMEOUT, announced).await.ok();
                    }
                };
                let (drained, ()) = tokio::join!(timeout(patience, drained), announced);
                match drained {
                    Ok(drained) => (shown, drained),
                    Err(_elapsed) => (shown, without_store(&mut asked).await),
                }
            }
            drained = &mut drained => {
                let shown = timeout(LAST_ITEMS_TIMEOUT, &mut rest).await.unwrap_or(Ok(()));
                (shown, drained)
            }
        }
    };
    tokio::select! {
        (shown, drained) = both => {
            match shown {
                Ok(()) => {}
                Err(failure) if resumes => account.broke = Some(failure.what),
                Err(failure) => account.failure = Some(failure),
            }
            match drained {
                Ok(answer) => {
                    account.balances = summary::read(&answer.balances);
                    see(session, &mut account.balances, answer.sight);
                    account.unconfirmed = answer.unconfirmed;
                    account.drained = stored;
                    account.clamped = account.clamped.max(answer.clamped);
                }
                Err(Failure { what, .. }) => {
                    let unknown = Failure::new(format!("the hub did not say what was lost: {what}"));
                    account.failure.get_or_insert(unknown);
                }
            }
        }
        failure = lost(&mut session.notices) => account.failure = Some(failure),
        _signal = stops.next_signal() => account.aborted = true,
        () = tokio::time::sleep(DRAIN_TIMEOUT + LAST_ITEMS_TIMEOUT) => {
            account.failure = Some(Failure::new("the hub did not drain in time"));
        }
    }
    account
}

/// Takes what the hub tells at last of the nodes, and completes its ledgers by what it does not know.
fn see(session: &mut Session, balances: &mut Vec<Balance>, told: Option<v1::Sight>) {
    let told = told.unwrap_or_default();
    session.sight.take(told.clone());
    session.sight.complete(balances, &told, session.hub_now_ns());
}

/// Drains the session; where another hub may take over, it is asked again for a while.
async fn drain(
    client: &mut Client,
    by: String,
    lags: bool,
    resumes: bool,
) -> Result<v1::DrainSessionResponse, Failure> {
    let pause = client.pause();
    let mut refused: Option<Instant> = None;
    loop {
        match client.drain(by.clone(), DRAIN_TIMEOUT, lags).await {
            Err(away)
                if resumes
                    && away.passing
                    && refused.get_or_insert_with(Instant::now).elapsed() < SUCCESSOR_TIMEOUT =>
            {
                tokio::time::sleep(pause).await;
            }
            answer => return answer,
        }
    }
}

/// The ledgers of a session whose stream has ended and whose store is not waited for, which is not in them.
async fn without_store(client: &mut Client) -> Result<v1::DrainSessionResponse, Failure> {
    let v1::DescribeResponse { mut balances, sight, .. } = client.describe().await?;
    let store = Some(v1::Consumer::from(Consumer::Store));
    balances.retain(|balance| balance.consumer != store);
    Ok(v1::DrainSessionResponse { balances, sight, ..v1::DrainSessionResponse::default() })
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

pub(super) async fn lost(notices: &mut tokio::sync::mpsc::Receiver<Notice>) -> Failure {
    loop {
        match notices.recv().await {
            Some(Notice::Lost(failure)) => return failure,
            Some(Notice::Ended(_)) => {}
            None => std::future::pending().await,
        }
    }
}

/// The stream ended without the hub's word that the session did: waits for the reason.
pub(super) async fn unexpected_end(session: &mut Session, failure: Option<Failure>) -> Result<Stop, Failure> {
    if session.ended_by.is_some() {
        return ended_by(session).await;
    }
    match timeout(LAST_ITEMS_TIMEOUT, session.notices.recv()).await {
        Ok(Some(Notice::Lost(failure))) => Err(failure),
        Ok(Some(Notice::Ended(by))) => Ok(Stop::Ended(by)),
        Ok(None) | Err(_) => Err(failure.unwrap_or_else(|| Failure::new("the hub ended the stream"))),
    }
}

/// The hub said that nothing follows; who ended the session is told beside the stream.
pub(super) async fn ended_by(session: &mut Session) -> Result<Stop, Failure> {
    if let Some(by) = session.ended_by.take() {
        return Ok(Stop::Ended(by));
    }
    match timeout(LAST_ITEMS_TIMEOUT, session.notices.recv()).await {
        Ok(Some(Notice::Ended(by))) => Ok(Stop::Ended(by)),
        Ok(Some(Notice::Lost(_)) | None) | Err(_) => Ok(Stop::Ended("its starter".to_owned())),
    }
}
