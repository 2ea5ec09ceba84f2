//! What calls are about, as rules see them.

use super::*;

fn call(method: Method, uri: &str) -> Call {
    Call { method, uri: uri.to_owned(), body: Value::Null }
}

#[test]
fn paths_are_read_as_api_servers_do() {
    let target = |kind, name, part| CallTarget { kind, name, part };
    for (uri, expected) in [
        ("/version", CallTarget::default()),
        ("/apis", CallTarget::default()),
        ("/api/v1/nodes?limit=1", target("nodes", None, None)),
        ("/api/v1/namespaces", target("namespaces", None, None)),
        ("/api/v1/namespaces/a", target("namespaces", Some("a"), None)),
        ("/api/v1/namespaces/a/pods?watch=true", target("pods", None, None)),
        ("/api/v1/namespaces/a/pods/p/log?x", target("pods", Some("p"), Some("log"))),
        ("/apis/apps/v1/namespaces/a/daemonsets/d", target("daemonsets", Some("d"), None)),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles/c", target("clusterroles", Some("c"), None)),
    ] {
        assert_eq!(call(Method::GET, uri).target(), expected, "{uri}");
    }
    let verb = |method, uri| call(method, uri).verb();
    assert_eq!(verb(Method::GET, "/api/v1/namespaces/a/pods"), "list");
    assert_eq!(verb(Method::GET, "/api/v1/namespaces/a/pods?watch=true"), "watch");
    assert_eq!(verb(Method::GET, "/api/v1/namespaces/a"), "get");
    assert_eq!(verb(Method::DELETE, "/api/v1/namespaces/a"), "delete");
}

#[tokio::test]
async fn the_newest_rule_is_asked_first_and_the_rest_is_done() {
    let api = FakeApi::willing()
        .but(|_| Some(Answer::refusal(500, "InternalError", "old")))
        .but(|call| (call.target().kind == "nodes").then(|| Answer::list(&json!([]))));
    let nodes = kube::Api::<k8s_openapi::api::core::v1::Node>::all(api.client());
    nodes.list(&kube::api::ListParams::default()).await.expect("the newest rule");
    api.client().apiserver_version().await.map(drop).expect_err("the rule before it");
    api.add_rule(|call| (call.path() == "/version").then(|| Answer::willing(call)));
    api.client().apiserver_version().await.expect("the newest rule");
    assert_eq!(api.calls().len(), 3);
    assert_eq!(api.calls_about("nodes").len(), 1);
}
