//! The API server of the tests: it does whatever it is asked, but for what the scenarios say.

pub(crate) mod scenarios;

mod forward;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::connect::Connection;

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// How.
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) uri: String,
    /// What was sent along; null where nothing was.
    pub(crate) body: Value,
}

/// What a call is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallTarget<'a> {
    /// The kind, in plural.
    pub(crate) kind: &'a str,
    /// One object's name.
    pub(crate) name: Option<&'a str>,
    /// A part of that object, such as its log.
    pub(crate) part: Option<&'a str>,
}

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// A status code and an object.
    Object(u16, Value),
    /// Text, as logs are and the events of a watch.
    Text(String),
    /// The answer, some time later.
    Later(Duration, Box<Self>),
    /// None, ever.
    Silence,
    /// A port is forwarded, and what comes there is echoed.
    Echo,
    /// A port is not forwarded, for which the kubelet has this reason.
    NoPort(&'static str),
}

type Rule = Box<dyn FnMut(&Call) -> Option<Answer> + Send>;

/// A willing API server, made less so by rules.
#[derive(Clone, Default)]
pub(crate) struct FakeApi(Arc<State>);

#[derive(Default)]
struct State {
    rules: Mutex<Vec<Rule>>,
    calls: Mutex<Vec<Call>>,
    /// Lets go of what is forwarded.
    cut: Notify,
}

// === impl Call ===

impl Call {
    /// Its path.
    pub(crate) fn path(&self) -> &str {
        self.uri.split('?').next().unwrap_or_default()
    }

    /// What it is about; of what lies beside all kinds, such as the version, nothing.
    pub(crate) fn target(&self) -> CallTarget<'_> {
        let mut parts: Vec<&str> = self.path().trim_start_matches('/').split('/').collect();
        let root = match parts.as_slice() {
            ["api", _, ..] => 2,
            ["apis", _, _, ..] => 3,
            _ => return CallTarget::default(),
        };
        parts.drain(..root);
        if parts.len() > 2 && parts[0] == "namespaces" {
            parts.drain(..2);
        }
        let part = |at: usize| parts.get(at).copied();
        CallTarget { kind: part(0).unwrap_or_default(), name: part(1), part: part(2) }
    }

    /// The namespace that it is about; of what lies outside namespaces, and of lists over all of them, none.
    pub(crate) fn namespace(&self) -> Option<&str> {
        let mut parts = self.path().split('/').skip_while(|part| *part != "namespaces").skip(1);
        let namespace = parts.next()?;
        parts.next().map(|_kind| namespace)
    }

    /// How RBAC calls what it does.
    pub(crate) fn verb(&self) -> &'static str {
        let named = self.target().name.is_some();
        match self.method {
            Method::GET if named => "get",
            Method::GET if self.is_watch() => "watch",
            Method::GET => "list",
            Method::POST => "create",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "update",
        }
    }

    /// Whether it changes the cluster.
    pub(crate) fn changes(&self) -> bool {
        self.method != Method::GET && !self.is_review() && !self.uri.contains("dryRun=All")
    }

    /// Whether it waits for what happens.
    pub(crate) fn is_watch(&self) -> bool {
        self.uri.contains("watch=true")
    }

    /// Whether it asks who may do what.
    pub(crate) fn is_review(&self) -> bool {
        self.target().kind.ends_with("reviews")
    }
}

// === impl Answer ===

impl Answer {
    /// A refusal, as API servers write it.
    pub(crate) fn refusal(code: u16, reason: &str, message: &str) -> Self {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure",
            "reason": reason, "message": message, "code": code,
        });
        Self::Object(code, status)
    }

    /// A list of objects.
    pub(crate) fn list(items: &Value) -> Self {
        let metadata = json!({ "resourceVersion": "1" });
        Self::Object(200, json!({ "kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items }))
    }

    /// What a willing API server says.
    fn willing(call: &Call) -> Self {
        let CallTarget { kind, name, part } = call.target();
        match (call.method.clone(), call.path()) {
            (Method::GET, "/version") => Self::Object(200, version("30")),
            (Method::GET, "/apis") => {
                Self::Object(200, json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [] }))
            }
            _ if part == Some("portforward") => Self::Echo,
            (Method::GET, _) if call.is_watch() => Self::Silence,
            (Method::GET, _) => match (name, part) {
                (None, _) => Self::list(&json!([])),
                (Some(_), Some("log")) => Self::Text(String::new()),
                (Some(name), _) => Self::refusal(404, "NotFound", &format!("{kind} \"{name}\" not found")),
            },
            (Method::DELETE, _) => {
                Self::Object(200, json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }))
            }
            _ if call.is_review() => review(call, true),
            _ => Self::Object(201, made(&call.body)),
        }
    }

    async fn response(self) -> Response<Body> {
        let (code, text) = match self {
            Self::Object(code, object) => (code, object.to_string()),
            Self::Text(text) => (200, text),
            Self::Later(after, answer) => {
                tokio::time::sleep(after).await;
                return Box::pin(answer.response()).await;
            }
            Self::Silence => std::future::pending().await,
            Self::Echo | Self::NoPort(_) => (400, "this answer forwards a port".to_owned()),
        };
        let response = Response::builder().status(code).body(Body::from(text.into_bytes()));
        response.expect("a response")
    }
}

// === impl FakeApi ===

impl FakeApi {
    /// Does whatever it is asked, and holds nothing.
    pub(crate) fn willing() -> Self {
        Self::default()
    }

    /// Does the same but for a rule, which is asked before those that were there.
    pub(crate) fn but(self, rule: impl FnMut(&Call) -> Option<Answer> + Send + 'static) -> Self {
        self.add_rule(rule);
        self
    }

    /// Adds a rule while it is being asked.
    pub(crate) fn add_rule(&self, rule: impl FnMut(&Call) -> Option<Answer> + Send + 'static) {
        self.0.rules.lock().expect("unpoisoned").push(Box::new(rule));
    }

    /// A client of it.
    pub(crate) fn client(&self) -> kube::Client {
        let state = Arc::clone(&self.0);
        let service = tower::service_fn(move |request: Request<Body>| {
            let state = Arc::clone(&state);
            async move { Ok::<_, Infallible>(state.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    /// Jane's connection to it.
    pub(crate) fn connection(&self) -> Connection {
        Connection {
            client: self.client(),
            namespace: "default".to_owned(),
            server: "https://x".to_owned(),
            owner: "jane".to_owned(),
        }
    }

    /// What it was asked so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.0.calls.lock().expect("unpoisoned").clone()
    }

    /// The same about one kind, in plural.
    pub(crate) fn calls_about(&self, kind: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.target().kind == kind).collect()
    }

    /// Lets go of all that it forwards.
    pub(crate) fn cut(&self) {
        self.0.cut.notify_waiters();
    }
}

// === impl State ===

impl State {
    async fn answer(self: Arc<Self>, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect_bytes().await.expect("a body");
        let call = Call {
            method: parts.method.clone(),
            uri: parts.uri.to_string(),
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
        };
        let ruled = self.rules.lock().expect("unpoisoned").iter_mut().rev().find_map(|rule| rule(&call));
        let answer = ruled.unwrap_or_else(|| Answer::willing(&call));
        self.calls.lock().expect("unpoisoned").push(call);
        match answer {
            Answer::Echo => forward::open(parts, self, None).await,
            Answer::NoPort(reason) => forward::open(parts, self, Some(reason)).await,
            answer @ (Answer::Object(..) | Answer::Text(_) | Answer::Later(..) | Answer::Silence) => {
                answer.response().await
            }
        }
    }
}

/// Answers a question who may do what.
fn review(call: &Call, allowed: bool) -> Answer {
    let mut review = call.body.clone();
    review["status"] = json!({ "allowed": allowed });
    Answer::Object(201, review)
}

/// Returns an object as it is once it was made: with a UID made of its name, and of a Service with an address.
fn made(body: &Value) -> Value {
    let mut object = body.clone();
    object["metadata"]["uid"] = json!(format!("uid-{}", body["metadata"]["name"].as_str().expect("a name")));
    if object["kind"] == "Service" {
        object["spec"]["clusterIP"] = json!("10.0.0.7");
    }
    object
}

/// Returns the version of Kubernetes 1.`minor`.
fn version(minor: &str) -> Value {
    json!({
        "major": "1", "minor": minor, "gitVersion": format!("v1.{minor}.0"), "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
    })
}

#[cfg(test)]
mod tests;
