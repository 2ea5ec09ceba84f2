//! Showing a session until something stops it, over streams that break and are opened again.

use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use tonic::Streaming;

use super::ending::{ended_by, unexpected_end};
use super::session::Session;
use super::view::{Flow, Items, View};
use crate::client::{Client, next};
use crate::console::Console;
use crate::failure::Failure;
use crate::render::unseen;
use crate::session::Notice;
use crate::stop::{Stop, Stops};

/// Longest wait for the first response over a stream that was opened again, which comes at once.
const FIRST_RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A session that is being shown.
pub(super) struct Following<'a> {
    /// The session.
    pub(super) session: &'a mut Session,
    /// What stops it.
    pub(super) stops: &'a mut Stops,
    /// Where breaks are told.
    pub(super) console: &'a Console,
}

// === impl Following ===

impl Following<'_> {
    /// Shows what comes until something stops it.
    pub(super) async fn follow<V: View>(
        &mut self,
        view: &mut V,
        items: &mut Items<V::Item>,
        time: Option<Duration>,
    ) -> Result<Stop, Failure> {
        let whole = self.session.whole();
        let deadline = async {
            match time {
                Some(time) => {
                    whole.await;
                    tokio::time::sleep(time).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                held = items.hold(), if items.held.is_none() => match held {
                    Ok(true) => {}
                    broken if self.session.resumes() && self.session.ended_by.is_none() => {
                        tokio::select! {
                            resumed = self.resume(view, &mut items.stream, broken.err()) => {
                                if let Some(stop) = resumed? {
                                    return Ok(stop);
                                }
                            }
                            () = &mut deadline => return Ok(Stop::Time),
                        }
                    }
                    // Why it broke is told by a notice, which names the part that is gone.
                    Ok(false) => return unexpected_end(self.session, None).await,
                    Err(failure) => return unexpected_end(self.session, Some(failure)).await,
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
                            Flow::Last => return ended_by(self.session).await,
                        }
                    }
                }
                () = view.ended() => return Ok(Stop::Closed),
                stop = self.stops.next() => return Ok(stop),
                Some(notice) = self.session.notices.recv() => match notice {
                    Notice::Lost(failure) => return Err(failure),
                    // The last items and then the end follow on the stream.
                    Notice::Ended(by) if self.session.is_own() => return Ok(Stop::Ended(by)),
                    Notice::Ended(by) => self.session.ended_by = Some(by),
                },
                Ok(()) = self.session.sights.changed() => self.tell_sight(view),
                () = &mut deadline => return Ok(Stop::Time),
            }
        }
    }

    /// Says what is new about the nodes.
    fn tell_sight<V: View>(&mut self, view: &mut V) {
        let now_ns = self.session.hub_now_ns();
        for news in self.session.hear() {
            view.notice(&news, &self.session.name, now_ns);
            self.console.warning(&unseen::news(&news, &TimeZone::system()));
        }
    }

    /// Opens a stream again that broke, for as long as the heartbeat tries; `None` when it is open.
    async fn resume<V: View>(
        &mut self,
        view: &mut V,
        stream: &mut Streaming<V::Item>,
        why: Option<Failure>,
    ) -> Result<Option<Stop>, Failure> {
        let broke = Instant::now();
        let mut client = self.session.client.clone();
        let pause = client.pause();
        let why = why.map_or_else(|| "it ended".to_owned(), |failure| failure.what);
        self.console.warning(&format!("the stream from the hub broke: {why}"));
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                stop = self.stops.next() => return Ok(Some(stop)),
                Some(notice) = self.session.notices.recv() => match notice {
                    Notice::Lost(failure) => return Err(failure),
                    Notice::Ended(by) => return Ok(Some(Stop::Ended(by))),
                },
            }
            let opened = tokio::select! {
                opened = reopen(view, &mut client, self.session) => opened,
                stop = self.stops.next() => return Ok(Some(stop)),
            };
            match opened {
                Ok((again, means)) => {
                    *stream = again;
                    let seconds = broke.elapsed().as_secs_f64();
                    self.console.warning(&format!("the stream is back after {seconds:.1}s: {means}"));
                    return Ok(None);
                }
                Err(failure) if failure.passing => {
                    self.console.detail(&format!("opening the stream again: {}", failure.what));
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}

/// Opens a stream again, and says what the break means.
async fn reopen<V: View>(
    view: &mut V,
    client: &mut Client,
    session: &Session,
) -> Result<(Streaming<V::Item>, String), Failure> {
    let mut stream = view.open(client, session).await?;
    let first = tokio::time::timeout(FIRST_RESPONSE_TIMEOUT, next(&mut stream)).await;
    let silent = || Failure::new("the hub says nothing").passing();
    let first = first.map_err(|_elapsed| silent())??.ok_or_else(silent)?;
    let means = view.back(first)?;
    Ok((stream, means))
}
