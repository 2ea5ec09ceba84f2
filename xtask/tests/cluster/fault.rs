//! Parts of a running session are taken away.

use std::time::Instant;

use xtask::process::wait_until;

use crate::{PATIENCE, Stage};

impl Stage {
    /// Returns the names of a session's capturer pods.
    pub(crate) fn capturers(&self, session: &str) -> Vec<String> {
        self.pods_of(session, "capturer")
    }

    fn pods_of(&self, session: &str, component: &str) -> Vec<String> {
        let namespace = format!("kyanos-{session}");
        let selector = format!("app.kubernetes.io/component={component}");
        let get = ["get", "pods", "-n", &namespace, "-l", &selector, "-o", "name"];
        self.cluster.kubectl().run(&get).unwrap().lines().map(str::to_owned).collect()
    }

    /// Deletes the pods of a component and fails unless exchanges from every node come again from new ones.
    fn survives_the_loss_of(&self, component: &str) {
        let nodes = self.cluster.kubectl().ready_nodes().unwrap();
        let (name, session) = self.watch(&[], 1);
        let namespace = format!("kyanos-{name}");
        let pods = self.pods_of(&name, component);
        assert!(!pods.is_empty(), "no {component}");
        // Returns when they are gone.
        let mut delete = vec!["delete", "-n", &namespace];
        delete.extend(pods.iter().map(String::as_str));
        let from = Instant::now();
        self.cluster.kubectl().run(&delete).unwrap();
        let before = session.exchanges().len();
        let goes_on = wait_until("exchanges from every node", PATIENCE, || {
            let seen = session.exchanges();
            let fresh = seen.get(before..).unwrap_or_default();
            nodes.iter().all(|node| fresh.iter().any(|one| one.text("node") == node))
        });
        println!("{component}: {} ms until all nodes stream again", from.elapsed().as_millis());
        let report = self.end(&name, session);
        assert!(goes_on.is_ok(), "{goes_on:?}; it said:\n{}", report.stderr);
    }
}

#[test]
fn a_deleted_hub_comes_back_and_the_session_goes_on() {
    let Some(stage) = Stage::open() else { return };
    stage.survives_the_loss_of("hub");
}

#[test]
fn deleted_capturers_come_back_and_the_session_goes_on() {
    let Some(stage) = Stage::open() else { return };
    stage.survives_the_loss_of("capturer");
}

#[test]
fn an_image_that_cannot_be_pulled_is_explained_and_nothing_stays() {
    let Some(stage) = Stage::open() else { return };
    let arguments = ["--hub-image", "registry.invalid/none:0", "--timeout", "20s"];
    let (name, session) = stage.cluster.session("watch", &arguments).unwrap();
    let report = session.finish(PATIENCE).unwrap();
    assert_eq!(report.code(), 1, "{}", report.stderr);
    assert!(report.stderr.contains("registry.invalid/none:0"), "{}", report.stderr);
    let gone = stage.cluster.wait_gone(&name, PATIENCE);
    assert!(gone.is_ok(), "{gone:?}");
}
