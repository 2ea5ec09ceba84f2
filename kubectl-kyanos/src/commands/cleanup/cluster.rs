//! `cleanup` in a cluster: the sessions that are there, and which of them shall go.

use crate::cli::CleanupArgs;
use crate::cluster::connect::Connection;
use crate::cluster::sessions::{self, Life, SessionRef};
use crate::cluster::{connect, preflight, teardown};
use crate::console::Console;
use crate::failure::Failure;

/// Runs the command.
pub(crate) async fn run(args: &CleanupArgs, console: &Console) -> Result<u8, Failure> {
    clean(&connect::connect(&args.place.cluster).await?, args, console).await
}

async fn clean(connection: &Connection, args: &CleanupArgs, console: &Console) -> Result<u8, Failure> {
    let mut targets = Vec::new();
    for (session, namespace) in sessions::list(connection).await? {
        let lives = sessions::is_live(connection, &namespace).await?;
        let lease = if lives { sessions::lease(connection, &session).await } else { None };
        targets.push((session, Life::of(&namespace, lease.as_ref(), lives)));
    }
    choose(&mut targets, args)?;
    if targets.is_empty() {
        console.say("nothing to remove");
        return Ok(0);
    }
    for (session, life) in &targets {
        let word = life.word();
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
    // Before it is begun: nothing goes half.
    preflight::may_remove(connection).await?;
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
fn choose(targets: &mut Vec<(SessionRef, Life)>, args: &CleanupArgs) -> Result<(), Failure> {
    if let Some(name) = &args.name {
        targets.retain(|(session, _)| session.name == *name);
        if targets.is_empty() {
            return Err(Failure::new(format!("there is no session named `{name}` in this cluster"))
                .hint("see `kubectl kyanos status`"));
        }
    } else if !args.all {
        targets.retain(|(_, life)| matches!(life, Life::Ended | Life::Ending));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::fake_api::{Call, FakeApi, scenarios};
    use crate::cluster::{FIELD_MANAGER, MANAGED_BY, SESSION_LABEL};

    fn asked(name: Option<&str>, all: bool) -> CleanupArgs {
        CleanupArgs {
            name: name.map(str::to_owned),
            place: crate::cli::PlaceArgs::default(),
            all,
            yes: false,
            dry_run: false,
        }
    }

    fn chosen(name: Option<&str>, all: bool) -> Result<Vec<String>, Failure> {
        let kept = Life::Kept(std::time::Duration::from_secs(9));
        let mut targets = [("a", Life::Live), ("b", Life::Ended), ("c", kept), ("d", Life::Ending)]
            .map(|(name, life)| (SessionRef { name: name.to_owned(), namespace_uid: "u".to_owned() }, life))
            .to_vec();
        choose(&mut targets, &asked(name, all))?;
        Ok(targets.into_iter().map(|(session, _)| session.name).collect())
    }

    /// An API server with session `a`, whose dead man's switch has gone off.
    fn with_an_ended_session() -> FakeApi {
        let namespace = json!({ "metadata": {
            "name": "kyanos-a", "uid": "n", "creationTimestamp": "2020-01-01T00:00:00Z",
            "labels": { MANAGED_BY.0: MANAGED_BY.1, SESSION_LABEL: "a" },
            "managedFields": [{ "manager": FIELD_MANAGER }],
        } });
        FakeApi::willing()
            .but(scenarios::holds("namespaces", json!([namespace])))
            .but(scenarios::holds("jobs", json!([])))
    }

    #[tokio::test(start_paused = true)]
    async fn who_may_not_remove_is_told_the_right_at_once_and_nothing_is_deleted() {
        const WITHOUT: [&[(&str, &str)]; 3] = [
            &[("namespaces", "delete")],
            &[("clusterroles", "delete"), ("clusterrolebindings", "list")],
            &[("namespaces", "delete"), ("clusterroles", "list"), ("clusterrolebindings", "delete")],
        ];
        for rights in WITHOUT {
            let api = with_an_ended_session().but(scenarios::forbidden(rights));
            let began = tokio::time::Instant::now();
            let refused = clean(&api.connection(), &asked(None, false), &Console::new(false, false)).await;
            let refused = refused.expect_err("refused");
            assert!(began.elapsed() < std::time::Duration::from_secs(1), "{:?}", began.elapsed());
            for (kind, verb) in rights {
                assert!(refused.what.contains(&format!("{verb} {kind}")), "{}", refused.what);
                assert!(refused.hint.as_ref().is_some_and(|hint| hint.contains(kind)), "{refused:?}");
            }
            let changes: Vec<_> = api.calls().into_iter().filter(Call::changes).collect();
            assert!(changes.is_empty(), "{changes:?}");
            // Looking needs none of these.
            let look = CleanupArgs { dry_run: true, ..asked(None, false) };
            clean(&api.connection(), &look, &Console::new(false, false)).await.expect("told");
        }
    }

    #[test]
    fn live_sessions_go_only_when_named_or_all_are_asked_for() {
        assert_eq!(chosen(None, false).expect("ended ones"), ["b", "d"]);
        assert_eq!(chosen(Some("a"), false).expect("the one"), ["a"]);
        assert_eq!(chosen(None, true).expect("all"), ["a", "b", "c", "d"]);
        assert_eq!(chosen(Some("c"), false).expect("the one"), ["c"]);
        assert_eq!(chosen(Some("e"), false).expect_err("none").exit, crate::failure::FAILED);
    }
}
