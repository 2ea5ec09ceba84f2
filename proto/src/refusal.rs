//! Why a hub refused a call, as a type: what is decided by it does not hang on the words of a message.
//!
//! A refusal travels in the details of a gRPC status, as a message of our own. Google's `ErrorInfo`, which `tonic-types`
//! has, names its reason by a string: nothing would check that both ends know the same ones, nor that every reason is
//! thought of where one is decided by. A status without a refusal is not a hub's word: the transport made it, or a hub
//! of another version.

use prost::Message as _;
use tonic::{Code, Status};

use crate::v1::{Refusal, RefusalKind};

// === impl RefusalKind ===

impl RefusalKind {
    /// Says whether the same call may succeed a moment later.
    #[must_use]
    pub fn is_passing(self) -> bool {
        match self {
            Self::Unspecified
            | Self::Silent
            | Self::TooManyViewers
            | Self::NotBegun
            | Self::NoIds
            | Self::AnotherLeads
            | Self::StoreStarting
            | Self::StoreAway
            | Self::StoreFailed
            | Self::Failed => true,
            Self::WireRevision
            | Self::Role
            | Self::Message
            | Self::Request
            | Self::NoCluster
            | Self::NoStore
            | Self::Statement
            | Self::ReadOnly
            | Self::NoReader
            | Self::TimedOut
            | Self::StoreUnusable => false,
        }
    }

    /// Returns the code that any gRPC client knows.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::WireRevision | Self::NoCluster | Self::NoStore | Self::NoReader | Self::StoreUnusable => {
                Code::FailedPrecondition
            }
            Self::Role | Self::ReadOnly => Code::PermissionDenied,
            Self::Message | Self::Request | Self::Statement => Code::InvalidArgument,
            Self::Silent | Self::TimedOut => Code::DeadlineExceeded,
            Self::TooManyViewers | Self::NoIds => Code::ResourceExhausted,
            Self::NotBegun | Self::StoreStarting | Self::StoreAway => Code::Unavailable,
            Self::AnotherLeads => Code::Aborted,
            Self::StoreFailed | Self::Failed => Code::Internal,
            Self::Unspecified => Code::Unknown,
        }
    }

    /// Returns a status of this kind, with a message for people.
    #[must_use]
    pub fn status(self, message: impl Into<String>) -> Status {
        self.with_hint(message, None)
    }

    /// Returns a status of this kind, with a message for people and what they can try.
    #[must_use]
    pub fn with_hint(self, message: impl Into<String>, hint: Option<&str>) -> Status {
        let refusal = Refusal { kind: self.into(), hint: hint.unwrap_or_default().to_owned() };
        Status::with_details(self.code(), message, refusal.encode_to_vec().into())
    }
}

// === impl Refusal ===

impl Refusal {
    /// Returns the refusal that a status carries; `None` where no hub made it, or one that does not know refusals.
    #[must_use]
    pub fn of(status: &Status) -> Option<Self> {
        let details = Some(status.details()).filter(|details| !details.is_empty())?;
        Self::decode(details).ok().filter(|refusal| refusal.kind() != RefusalKind::Unspecified)
    }

    /// Returns what the user can try, where that is known.
    #[must_use]
    pub fn try_this(&self) -> Option<&str> {
        Some(self.hint.as_str()).filter(|hint| !hint.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<RefusalKind> {
        (1..100).filter_map(|number| RefusalKind::try_from(number).ok()).collect()
    }

    #[test]
    fn a_kind_and_its_hint_travel_in_a_status() {
        assert!(all().len() > 15);
        for kind in all() {
            let bare = kind.status("no");
            let refusal = Refusal::of(&bare).expect("details");
            assert_eq!((refusal.kind(), refusal.try_this()), (kind, None));
            assert_eq!((bare.code(), bare.message()), (kind.code(), "no"));
            let hinted = Refusal::of(&kind.with_hint("no", Some("do"))).expect("details");
            assert_eq!((hinted.kind(), hinted.try_this()), (kind, Some("do")));
        }
    }

    #[test]
    fn what_no_hub_said_is_no_refusal() {
        assert_eq!(Refusal::of(&Status::unavailable("the session's store is away")), None);
        let foreign = Status::with_details(Code::Internal, "x", b"\xff\xff".as_slice().into());
        assert_eq!(Refusal::of(&foreign), None);
        let newer = Refusal { kind: 10_000, hint: "do".to_owned() };
        let newer = Status::with_details(Code::Internal, "x", newer.encode_to_vec().into());
        assert_eq!(Refusal::of(&newer), None);
    }

    #[test]
    fn no_kind_reads_as_a_success() {
        assert!(all().iter().all(|kind| kind.code() != Code::Ok && kind.code() != Code::Unknown));
    }
}
