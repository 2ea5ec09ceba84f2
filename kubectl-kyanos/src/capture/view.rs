//! What a command shows of a session: a view, and the stream that brings its items.

use proto::account::Balance;
use tonic::Streaming;

use super::session::Session;
use crate::client::{Client, next};
use crate::failure::Failure;
use crate::sight::News;

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

    /// Opens its stream, or opens it again after it broke.
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

    /// Takes what is new about a node, where its output tells such things; standard error does always.
    /// `now_ns` is the hub's clock.
    fn notice(&mut self, news: &News, session: &str, now_ns: u64);

    /// Whether it sums up, so that it begins when all nodes capture: what came before would be of some nodes only.
    fn sums_up(&self) -> bool;

    /// Exchanges shown or counted.
    fn captured(&self) -> u64;

    /// Takes the first response of a stream that was opened again, which brings nothing to show, and says what the break
    /// means for what is shown.
    fn back(&mut self, first: Self::Item) -> Result<String, Failure>;

    /// Exchanges of the stream that were written; `None` where it brings no exchanges.
    fn printed(&self) -> Option<u64>;

    /// The hub's ledger of this viewer.
    fn balance(&self) -> Option<&Balance>;
}

/// A stream, and the item that was taken from it and waits for the output.
#[derive(Debug)]
pub(super) struct Items<T> {
    /// The stream.
    pub(super) stream: Streaming<T>,
    /// The item.
    pub(super) held: Option<T>,
}

// === impl Items ===

impl<T> Items<T> {
    /// Takes the next item; `false` at the stream's end.
    pub(super) async fn hold(&mut self) -> Result<bool, Failure> {
        self.held = next(&mut self.stream).await?;
        Ok(self.held.is_some())
    }
}
