//! The part of the Kubernetes API that hubs ask: lists page by page, watches, the Lease and the dead man's switch.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Collected, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::BroadcastStream;

use crate::authority::Authority;
use crate::objects::{Kind, Objects};

/// Changes that a slow watch may be behind; one that is further behind is ended, as the API does.
const CHANGES: usize = 4096;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The API server of one run.
pub(crate) struct Api {
    pub(crate) objects: Objects,
    address: SocketAddr,
    requests: AtomicU64,
    /// Lines of the watch of pods.
    changes: broadcast::Sender<Bytes>,
    /// Version and content of each object that hubs write, by path.
    written: Mutex<HashMap<String, (u64, Value)>>,
}

// === impl Api ===

impl Api {
    /// Serves at an address until the process ends.
    pub(crate) async fn serve(
        gateway: Ipv4Addr,
        objects: Objects,
        authority: &Authority,
    ) -> Result<Arc<Self>> {
        let listener = TcpListener::bind((gateway, 0)).await.context("the API server's port")?;
        let acceptor = TlsAcceptor::from(Arc::new(authority.server(gateway.into())?));
        let api = Arc::new(Self {
            objects,
            address: listener.local_addr()?,
            requests: AtomicU64::new(0),
            changes: broadcast::Sender::new(CHANGES),
            written: Mutex::default(),
        });
        tokio::spawn(accept(listener, acceptor, Arc::clone(&api)));
        Ok(api)
    }

    /// Returns where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns how many requests there were so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Replaces so many pods a second, one after another, until it is dropped.
    pub(crate) async fn churn(self: Arc<Self>, a_second: u64) {
        let pods = self.objects.count(Kind::Pod).max(1);
        let mut ticks =
            tokio::time::interval(Duration::from_secs(1) / u32::try_from(a_second).unwrap_or(u32::MAX));
        for number in 0_usize.. {
            ticks.tick().await;
            // Neighbours are on other nodes: a step that has no factor with their number visits all.
            let Some((old, new)) = self.objects.replace(number.wrapping_mul(7_919) % pods) else { continue };
            for (kind, object) in [("DELETED", old), ("ADDED", new)] {
                // Without a watch nobody is told.
                self.changes.send(line(kind, &object)).ok();
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let query: HashMap<String, String> = request.uri().query().map(pairs).unwrap_or_default();
        let path = request.uri().path().to_owned();
        match (request.method(), Kind::of(&path)) {
            (&Method::GET, Some(kind)) if query.get("watch").is_some_and(|watch| watch == "true") => {
                self.watch(kind)
            }
            (&Method::GET, Some(kind)) => self.list(kind, &query),
            (&Method::GET, None) => self.read(&path),
            (&Method::PUT | &Method::PATCH, None) => {
                let replaces = request.method() == Method::PUT;
                let body = request.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
                self.write(&path, replaces, &body)
            }
            _ => status(StatusCode::NOT_FOUND),
        }
    }

    fn list(&self, kind: Kind, query: &HashMap<String, String>) -> Response<Body> {
        let number = |name: &str| query.get(name).and_then(|value| value.parse::<usize>().ok());
        let of = self.objects.count(kind);
        let first = number("continue").unwrap_or(0).min(of);
        let end = number("limit").map_or(of, |limit| of.min(first + limit));
        let next = if end < of { end.to_string() } else { String::new() };
        let items: Vec<_> = (first..end).map(|number| self.objects.object(kind, number)).collect();
        reply(
            &json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1", "continue": next},
            "items": items}),
        )
    }

    fn watch(&self, kind: Kind) -> Response<Body> {
        // Only pods change.
        let changes = if kind == Kind::Pod { self.changes.subscribe() } else { broadcast::channel(1).1 };
        let lines = BroadcastStream::new(changes).take_while(|line| std::future::ready(line.is_ok()));
        let never = futures_util::stream::pending();
        let lines = lines.filter_map(|line| std::future::ready(line.ok()));
        let lines: futures_util::stream::BoxStream<'static, Bytes> =
            if kind == Kind::Pod { lines.boxed() } else { never.boxed() };
        let body = StreamBody::new(lines.map(|line| Ok(Frame::data(line))));
        Response::new(Body::new(body))
    }

    fn read(&self, path: &str) -> Response<Body> {
        if path.ends_with("/pods") {
            // Hubs ask whether the pod of another hub is gone: none is.
            let all = self.objects.count(Kind::Pod);
            let hubs = (0..all).rev().map(|number| self.objects.object(Kind::Pod, number));
            let hubs: Vec<_> =
                hubs.take_while(|pod| pod["metadata"]["namespace"] == crate::NAMESPACE).collect();
            return reply(&json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": hubs}));
        }
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        match written.get(path) {
            Some((_, object)) => reply(object),
            None => reply(&fresh(path)),
        }
    }

    fn write(&self, path: &str, replaces: bool, body: &[u8]) -> Response<Body> {
        let Ok(mut object) = serde_json::from_slice::<Value>(body) else {
            return status(StatusCode::BAD_REQUEST);
        };
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let (version, known) = written.entry(path.to_owned()).or_insert_with(|| (1, fresh(path)));
        if !replaces {
            // Patches move the dead man's switch; its deadline is nothing that a run looks at.
            return reply(known);
        }
        if object["metadata"]["resourceVersion"].as_str() != Some(version.to_string().as_str()) {
            return status(StatusCode::CONFLICT);
        }
        *version += 1;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        *known = object;
        reply(known)
    }
}

/// An object that nobody wrote yet: the session's Lease, or the Job of the dead man's switch.
fn fresh(path: &str) -> Value {
    let name = path.rsplit('/').next().unwrap_or_default();
    json!({"metadata": {"name": name, "namespace": crate::NAMESPACE, "resourceVersion": "1",
        "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}})
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, api: Arc<Api>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, api) = (acceptor.clone(), Arc::clone(&api));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(|request| {
                let api = Arc::clone(&api);
                async move { Ok::<_, Infallible>(api.answer(request).await) }
            });
            // A hub that goes away ends its connections.
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
                .ok();
        });
    }
}

fn pairs(query: &str) -> HashMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn line(kind: &str, object: &Value) -> Bytes {
    format!("{}\n", json!({"type": kind, "object": object})).into()
}

fn reply(value: &Value) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())).boxed_unsync());
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}

fn status(code: StatusCode) -> Response<Body> {
    let value = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(),
        "reason": code.canonical_reason(), "message": code.canonical_reason()});
    let mut response = reply(&value);
    *response.status_mut() = code;
    response
}
