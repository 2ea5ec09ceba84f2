//! What a start has made, so that it can be removed when the start fails or is stopped.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::cluster::connect::Connection;
use crate::cluster::manifests::Values;
use crate::cluster::sessions::SessionRef;
use crate::cluster::{apply, names, teardown};
use crate::failure::Failure;
use crate::session::Remains;

/// Longest wait, when a start is stopped, for the answer whether its Namespace was made.
const NAMESPACE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a start has made so far; outlives the start, so that it can be removed when that fails or is stopped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Begun(Arc<Mutex<Option<Beginning>>>);

#[derive(Clone, Debug)]
struct Beginning {
    connection: Connection,
    name: String,
    /// The UID of the Namespace, once the API server said whether it made one.
    namespace: watch::Receiver<Option<Result<String, Failure>>>,
}

// === impl Begun ===

impl Begun {
    /// Makes the Namespace; the answer is heard even when the start is dropped meanwhile.
    pub(super) async fn create(
        &self,
        connection: &Connection,
        values: &Values,
    ) -> Result<SessionRef, Failure> {
        let (sender, mut namespace) = watch::channel(None);
        let beginning = Beginning {
            connection: connection.clone(),
            name: values.session.clone(),
            namespace: namespace.clone(),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(beginning);
        let (client, values) = (connection.client.clone(), values.clone());
        let name = values.session.clone();
        tokio::spawn(async move {
            let made = apply::create_namespace(&client, &values).await;
            sender.send_replace(Some(made));
        });
        let lost = || Failure::new("making the Namespace was given up");
        let made = namespace.wait_for(Option::is_some).await.map_err(|_closed| lost())?.clone();
        let namespace_uid = made.unwrap_or_else(|| Err(lost()))?;
        Ok(SessionRef { name, namespace_uid })
    }

    /// The start succeeded; what was made is the session's.
    pub(super) fn is_done(&self) {
        self.take();
    }

    /// What there is to say when removing is stopped, too.
    pub(crate) fn going(&self) -> Option<String> {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        begun.as_ref().map(|beginning| in_removal(&beginning.name))
    }

    /// The session's name, where something was made.
    pub(crate) fn name(&self) -> Option<String> {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        begun.as_ref().map(|beginning| beginning.name.clone())
    }

    /// Removes what was made.
    pub(crate) async fn remove(&self) -> Remains {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(Beginning { connection, name, mut namespace }) = begun else {
            return Remains::default();
        };
        let decided = timeout(NAMESPACE_TIMEOUT, namespace.wait_for(Option::is_some)).await;
        let made = match decided {
            Ok(Ok(made)) => made.clone(),
            Ok(Err(_)) | Err(_) => None,
        };
        let remains = match made {
            Some(Ok(namespace_uid)) => {
                teardown::remove(&connection.client, &SessionRef { name, namespace_uid }).await
            }
            // Refused: there was nothing, or it is somebody else's.
            Some(Err(_)) => Remains::default(),
            None => {
                let namespace = names::namespace(&name);
                let what = "of which the API server did not say whether it made it";
                Remains { left: vec![format!("namespace `{namespace}`, {what}")], ..Remains::default() }
            }
        };
        self.take();
        remains
    }

    fn take(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// What is removed of a session whose removal is not waited for.
pub(super) fn in_removal(session: &str) -> String {
    format!("namespace `{}` with all that is in it", names::namespace(session))
}
