//! `cleanup` in a cluster: the sessions that are there, and which of them shall go.

use crate::cli::CleanupArgs;
use crate::cluster::sessions::{self, SessionRef};
use crate::cluster::{connect, teardown};
use crate::console::Console;
use crate::failure::Failure;

/// Runs the command.
pub(crate) async fn run(args: &CleanupArgs, console: &Console) -> Result<u8, Failure> {
    let connection = connect::connect(&args.place.cluster).await?;
    let mut targets = Vec::new();
    for (session, namespace) in sessions::list(&connection).await? {
        let live = sessions::is_live(&connection, &namespace).await?;
        targets.push((session, live));
    }
    choose(&mut targets, args)?;
    if targets.is_empty() {
        console.say("nothing to remove");
        return Ok(0);
    }
    for (session, live) in &targets {
        let word = if *live { "live" } else { "ended" };
        let would = if args.dry_run { "would remove " } else { "" };
        console.say(&format!(
            "{would}{word} session `{}` (namespace `{}`)",
            session.name,
            session.namespace()
        ));
    }
    if args.dry_run {
        return Ok(0);
    }
    if args.all && !args.yes && !super::confirmed(console)? {
        console.say("nothing was removed");
        return Ok(0);
    }
    let removed = targets.iter().map(|(session, _)| teardown::remove(&connection.client, session));
    let removed = futures_util::future::join_all(removed).await;
    for remains in &removed {
        remains.say_unconfirmed(console);
    }
    let left: Vec<String> = removed.into_iter().flat_map(|remains| remains.left).collect();
    if left.is_empty() {
        console.say("removed");
        return Ok(0);
    }
    Err(Failure::new(format!("could not remove {}", left.join(", ")))
        .hint("run `kubectl kyanos cleanup` again once what holds it is gone"))
}

/// Keeps what was asked for: the one named, all, else those that ended.
fn choose(targets: &mut Vec<(SessionRef, bool)>, args: &CleanupArgs) -> Result<(), Failure> {
    if let Some(name) = &args.name {
        targets.retain(|(session, _)| session.name == *name);
        if targets.is_empty() {
            return Err(Failure::new(format!("there is no session named `{name}` in this cluster"))
                .hint("see `kubectl kyanos status`"));
        }
    } else if !args.all {
        targets.retain(|(_, live)| !live);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(name: Option<&str>, all: bool) -> Result<Vec<String>, Failure> {
        let mut targets = [("a", true), ("b", false), ("c", true)]
            .map(|(name, live)| (SessionRef { name: name.to_owned(), namespace_uid: "u".to_owned() }, live))
            .to_vec();
        let args = CleanupArgs {
            name: name.map(str::to_owned),
            place: crate::cli::PlaceArgs::default(),
            all,
            yes: false,
            dry_run: false,
        };
        choose(&mut targets, &args)?;
        Ok(targets.into_iter().map(|(session, _)| session.name).collect())
    }

    #[test]
    fn live_sessions_go_only_when_named_or_all_are_asked_for() {
        assert_eq!(chosen(None, false).expect("ended ones"), ["b"]);
        assert_eq!(chosen(Some("a"), false).expect("the one"), ["a"]);
        assert_eq!(chosen(None, true).expect("all"), ["a", "b", "c"]);
        assert_eq!(chosen(Some("d"), false).expect_err("none").exit, crate::failure::FAILED);
    }
}
