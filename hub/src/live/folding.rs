//! Where sums suffice: one viewer alone counts, and nobody wants the exchanges themselves.

use std::hash::{BuildHasher as _, RandomState};

use proto::stats::FoldRules;
use proto::v1;
use tokio::sync::watch;

/// What capturers are to send.
#[derive(Debug, Default)]
pub(super) struct Foldings {
    /// The session's filter, which capturers test; absent where exchanges are stored, or shared with other hubs.
    tested: Option<v1::Filter>,
    wanted: watch::Sender<v1::Folding>,
}

// === impl Foldings ===

impl Foldings {
    /// Folds what this filter lets through.
    pub(super) fn of(tested: Option<v1::Filter>) -> Self {
        Self { tested, wanted: watch::Sender::default() }
    }

    /// Returns the sums that a statistic can be made of.
    pub(super) fn sums(&self, request: &v1::StatRequest) -> Option<v1::Folding> {
        let tested = self.tested.as_ref()?;
        if request.filter.as_ref().unwrap_or(&v1::Filter::default()) != tested
            || !FoldRules::suffices(request)
        {
            return None;
        }
        // Tells what is on its way for another viewer, or for a hub that was here before.
        let number = RandomState::new().hash_one(()).max(1);
        Some(v1::Folding { number, metrics: request.metrics.clone(), group_by: request.group_by.clone() })
    }

    /// Tells capturers what is wanted from now on: these sums, or exchanges.
    pub(super) fn want(&self, sums: Option<v1::Folding>) {
        let sums = sums.unwrap_or_default();
        self.wanted.send_if_modified(|wanted| {
            let changes = *wanted != sums;
            *wanted = sums;
            changes
        });
    }

    /// What is wanted, and every change of it.
    pub(super) fn wanted(&self) -> watch::Receiver<v1::Folding> {
        self.wanted.subscribe()
    }
}
