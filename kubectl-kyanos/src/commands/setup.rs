//! Flags into the session that a capturing command begins or joins.

use std::time::Duration;

use proto::launch::StoreChoice;
use proto::v1;

use crate::capture::{Choice, Plan};
use crate::cli::{CaptureArgs, SessionArgs, filter};
use crate::console::Console;
use crate::failure::Failure;
use crate::save::Target;
use crate::session::Wanted;
use crate::store;

/// Bytes of a session's own store.
const OWN_STORE_LIMIT: u64 = 2 << 30;

/// How long a kept session's hub lives after capture ended.
const TTL: Duration = Duration::from_hours(1);

/// What a command adds to the flags.
#[derive(Debug)]
pub(crate) struct Needs {
    /// Which traffic.
    pub(crate) filter: v1::Filter,
    /// Payload bytes that it shows.
    pub(crate) print_bytes: u32,
    /// Whether it stores without being asked.
    pub(crate) stores: bool,
}

/// Turns flags into a plan, and says what must be said before a session begins.
pub(crate) fn plan(
    session: &SessionArgs,
    capture: &CaptureArgs,
    needs: Needs,
    console: &Console,
) -> Result<Plan, Failure> {
    check(session)?;
    let unused = filter::unused(capture);
    if !unused.is_empty() {
        console.warning(&format!("{} is accepted and unused", unused.join(", ")));
    }
    let save = session.save.as_deref().map(Target::new).transpose()?;
    if let Some(name) = &session.session {
        return Ok(Plan {
            session: Choice::Join(name.clone()),
            time: capture.time,
            save,
            hint_at_keeping: false,
        });
    }
    if !capture.redact {
        console.warning("`--redact=false` shows and stores passwords, tokens and cookies");
    }
    let store = store_of(session, needs.stores)?;
    let own_store = matches!(&store, StoreChoice::Sqlite { path } if path.as_os_str().is_empty());
    let max_store_bytes = if matches!(store, StoreChoice::None) { 0 } else { session.max_store_bytes };
    let wanted = Wanted {
        name: session.name.clone(),
        store_limit: session.store_limit.unwrap_or(if own_store { OWN_STORE_LIMIT } else { 0 }),
        store,
        max_store_bytes: session.max_store_bytes,
        payload_bytes: max_store_bytes.max(needs.print_bytes),
        keep: session.keep,
        ttl: TTL,
        timeout: session.timeout,
        filter: needs.filter,
        redaction: v1::Redaction {
            enabled: capture.redact,
            headers: capture.redact_header.iter().map(|name| name.to_ascii_lowercase()).collect(),
        },
        sample: capture.sample,
        ring_bytes: capture.ring_size,
        btf: capture.btf.clone(),
    };
    let hint_at_keeping = own_store && !session.keep && save.is_none();
    Ok(Plan { session: Choice::New(Box::new(wanted)), time: capture.time, save, hint_at_keeping })
}

fn check(session: &SessionArgs) -> Result<(), Failure> {
    if session.ttl.is_some() && !session.keep {
        return Err(Failure::usage("`--ttl` needs `--keep`")
            .hint("a session that is not kept ends with this command"));
    }
    if session.ttl.is_some() {
        return Err(Failure::usage(
            "`--ttl` cannot be used with `--local`: a kept store on this machine stays",
        )
        .hint("remove it with `kubectl kyanos cleanup NAME --local` when it is no longer needed"));
    }
    Ok(())
}

fn store_of(session: &SessionArgs, stores: bool) -> Result<StoreChoice, Failure> {
    let password = std::env::var(store::PASSWORD_VARIABLE).ok();
    match &session.store {
        Some(url) => store::choice(url, session.store_reader.as_deref(), password.as_deref()),
        // The session puts its own path in.
        None if stores || session.keep || session.save.is_some() => {
            Ok(StoreChoice::Sqlite { path: "".into() })
        }
        None => Ok(StoreChoice::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::USAGE;

    #[test]
    fn a_local_store_has_no_time_to_live() {
        let hour = Some(Duration::from_hours(1));
        let alone = SessionArgs { ttl: hour, ..SessionArgs::default() };
        let kept = SessionArgs { keep: true, ..alone.clone() };
        for (args, word) in [(alone, "--keep"), (kept, "--local")] {
            let failure = check(&args).expect_err("refused");
            assert_eq!(failure.exit, USAGE);
            assert!(failure.what.contains(word), "{}", failure.what);
        }
        assert!(check(&SessionArgs { keep: true, ..SessionArgs::default() }).is_ok());
    }
}
