//! The way to a session's hub: of one that starts as soon as it answers, and of somebody else's.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use proto::launch::Identity;
use tokio::time::Instant;

use super::steps::Steps;
use crate::client::Client;
use crate::cluster::connect::{self, Connection};
use crate::cluster::forward::Forward;
use crate::cluster::names;
use crate::cluster::progress::Pods;
use crate::console::Console;
use crate::failure::Failure;

/// Connects to the hub as soon as it answers.
pub(super) async fn wait(
    pods: &mut Pods,
    forward: &Forward,
    viewer: &Identity,
    deadline: Instant,
    console: &mut Console,
) -> Result<Client, Failure> {
    let mut last = None;
    let mut steps = Steps::new(console);
    loop {
        steps.say(match pods.hub_waits_for() {
            Some(reason) => format!("waiting for the hub ({reason}) …"),
            None => "waiting for the hub …".to_owned(),
        });
        let attempt = async {
            pods.hub().await?;
            if !pods.hub_runs() {
                return Ok(None);
            }
            let mut client = match Client::connect_over(viewer, forward.clone()).await {
                Ok(client) => client,
                Err(failure) if failure.passing => return Ok(Some(Err(failure))),
                Err(failure) => return Err(failure),
            };
            match client.describe().await {
                Ok(_) => Ok(Some(Ok(client))),
                Err(failure) if failure.passing => Ok(Some(Err(failure))),
                // A hub of another version is not waited for.
                Err(failure) => Err(failure),
            }
        };
        match tokio::time::timeout_at(deadline, attempt).await {
            Ok(Ok(Some(Ok(client)))) => return Ok(client),
            Ok(Ok(Some(Err(failure)))) => last = Some(forward.trouble().unwrap_or(failure.what)),
            Ok(Ok(None)) => {}
            Ok(Err(failure)) => return Err(failure),
            Err(_elapsed) => {
                let reason = pods.hub_waits_for().or(last);
                return Err(match reason {
                    Some(reason) => Failure::new(format!("the hub was not ready in time: {reason}")),
                    None => Failure::new("the hub was not ready in time"),
                }
                .hint("give it more with `--timeout`, or see what it says with `kubectl get events -A`"));
            }
        }
    }
}

/// Connects to the hub of somebody's session, whose Secret `viewer` says whether this user may.
pub(crate) async fn join(connection: &Connection, name: &str) -> Result<Client, Failure> {
    let namespace = names::namespace(name);
    let secrets = Api::<Secret>::namespaced(connection.client.clone(), &namespace);
    let secret = match secrets.get(names::VIEWER).await {
        Ok(secret) => secret,
        Err(kube::Error::Api(status)) if status.is_not_found() => {
            return Err(Failure::new(format!("there is no session `{name}` in this cluster"))
                .hint("list the sessions with `kubectl kyanos status`"));
        }
        Err(kube::Error::Api(status)) if status.is_forbidden() => {
            return Err(Failure::new(format!("joining session `{name}` is forbidden: {}", status.message))
                .hint(format!(
                    "whoever may read Secret `{}` in namespace `{namespace}` may join",
                    names::VIEWER
                )));
        }
        Err(error) => return Err(connect::failure(&error, &connection.server)),
    };
    let data = secret.data.unwrap_or_default().remove(names::VIEWER_KEY).unwrap_or_default();
    let identity: Identity = serde_json::from_slice(&data.0).map_err(|error| {
        Failure::new(format!("Secret `{namespace}/{}` is not readable: {error}", names::VIEWER))
            .hint("use the plugin of the version that started the session")
    })?;
    Client::connect_over(&identity, Forward::new(&connection.client, name)).await
}
