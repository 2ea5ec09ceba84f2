//! The connection to a cluster's API: kubeconfig, kubectl's flags, and who the server takes us for.

use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{Api, PostParams};
use kube::client::{ClientBuilder, DynBody};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use proto::causes::{self, with_causes};
use tower::BoxError;
use tower::util::MapFutureLayer;

use crate::cli::cluster::ClusterArgs;
use crate::failure::Failure;
use crate::suggestion::nearest;

/// Longest wait for a connection to the API server where `--request-timeout` says nothing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An answer of the API server that is awaited.
type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Box<DynBody>>, BoxError>> + Send>>;

/// A cluster that answers.
#[derive(Clone)]
pub(crate) struct Connection {
    /// The API.
    pub(crate) client: Client,
    /// Namespace of the context.
    pub(crate) namespace: String,
    /// Address of the API server.
    pub(crate) server: String,
    /// Who the API server says we are.
    pub(crate) owner: String,
}

// === impl Connection ===

impl std::fmt::Debug for Connection {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Connection").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Connects as kubectl would with the same flags and environment, and asks who we are.
pub(crate) async fn connect(args: &ClusterArgs) -> Result<Connection, Failure> {
    let config = config(args).await?;
    let (server, namespace) = (config.cluster_url.to_string(), config.default_namespace.clone());
    let timeout = args.request_timeout.filter(|timeout| !timeout.is_zero());
    let client = client(config, timeout).map_err(|error| failure(&error, &server))?;
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await;
    let review = review.map_err(|error| failure(&error, &server))?;
    let user = review.status.and_then(|status| status.user_info).and_then(|user| user.username);
    Ok(Connection { client, namespace, server, owner: user.unwrap_or_else(|| "unknown".to_owned()) })
}

fn client(config: Config, timeout: Option<Duration>) -> Result<Client, kube::Error> {
    let Some(timeout) = timeout else { return Client::try_from(config) };
    let layer = MapFutureLayer::new(move |answer: Answer| async move {
        match tokio::time::timeout(timeout, answer).await {
            Ok(answer) => answer,
            Err(elapsed) => Err(BoxError::from(elapsed)),
        }
    });
    Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
}

/// Namespace of the context, read from the kubeconfig alone.
pub(crate) async fn namespace(args: &ClusterArgs) -> String {
    config(args).await.map_or_else(|_unknown| "default".to_owned(), |config| config.default_namespace)
}

async fn config(args: &ClusterArgs) -> Result<Config, Failure> {
    let options = KubeConfigOptions {
        context: args.context.clone(),
        cluster: args.cluster.clone(),
        user: args.user.clone(),
    };
    let mut config = match kubeconfig(args.kubeconfig.as_deref())? {
        Some(kubeconfig) => {
            let known = kubeconfig.clone();
            let loaded = Config::from_custom_kubeconfig(kubeconfig, &options).await;
            loaded.map_err(|error| unusable(&error, &known))?
        }
        None => elsewhere(args)?,
    };
    config.connect_timeout =
        Some(args.request_timeout.filter(|given| !given.is_zero()).unwrap_or(CONNECT_TIMEOUT));
    override_server(args, &mut config)?;
    override_user(args, &mut config)?;
    Ok(config)
}

/// Reads the file given, else those of `KUBECONFIG`, else the usual one; `None` where there is none.
fn kubeconfig(file: Option<&Path>) -> Result<Option<Kubeconfig>, Failure> {
    let unreadable = |error: &KubeconfigError| {
        Failure::new(format!("reading the kubeconfig failed: {}", with_causes(error)))
            .hint("check it with `kubectl config view`")
    };
    if let Some(file) = file {
        return Kubeconfig::read_from(file).map(Some).map_err(|error| unreadable(&error));
    }
    if let Some(list) = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
        // As kubectl does, files that are not there are passed over.
        let mut merged = None;
        for file in std::env::split_paths(&list).filter(|file| file.exists()) {
            let next = Kubeconfig::read_from(&file).map_err(|error| unreadable(&error))?;
            merged = Some(match merged {
                None => next,
                Some(known) => Kubeconfig::merge(known, next).map_err(|error| unreadable(&error))?,
            });
        }
        return Ok(merged);
    }
    // The second is what Windows sets.
    let home = std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE"));
    let usual = home.map(|home| Path::new(&home).join(".kube/config"));
    match usual.filter(|file| file.exists()) {
        Some(file) => Kubeconfig::read_from(file).map(Some).map_err(|error| unreadable(&error)),
        None => Ok(None),
    }
}

/// Without a kubeconfig: the address given, else the cluster whose pod this runs in.
fn elsewhere(args: &ClusterArgs) -> Result<Config, Failure> {
    if args.context.is_none()
        && let Some(server) = &args.server
    {
        return Ok(Config::new(address(server)?));
    }
    Config::incluster().map_err(|_not_in_a_pod| {
        Failure::new("there is no kubeconfig")
            .hint("set KUBECONFIG or `--kubeconfig FILE`, or capture on this machine with `--local`")
    })
}

fn address(server: &str) -> Result<http::Uri, Failure> {
    let wrong = || Failure::usage(format!("`--server {server}` is no address")).hint("https://HOST:PORT");
    let uri: http::Uri = server.parse().map_err(|_no_address| wrong())?;
    if uri.scheme().is_some() && uri.host().is_some() { Ok(uri) } else { Err(wrong()) }
}

fn override_server(args: &ClusterArgs, config: &mut Config) -> Result<(), Failure> {
    if let Some(server) = &args.server {
        config.cluster_url = address(server)?;
    }
    if let Some(file) = &args.certificate_authority {
        std::fs::metadata(file).map_err(|error| Failure::io("reading", file.display(), &error))?;
        config.root_cert_file = Some(file.clone());
    }
    if let Some(name) = &args.tls_server_name {
        config.tls_server_name = Some(name.clone());
    }
    config.accept_invalid_certs |= args.insecure_skip_tls_verify;
    Ok(())
}

fn override_user(args: &ClusterArgs, config: &mut Config) -> Result<(), Failure> {
    let login = &mut config.auth_info;
    if let Some(token) = &args.token {
        // The field's own type for secrets is made by reading it.
        let parsed: AuthInfo = serde_json::from_value(serde_json::json!({ "token": token }))
            .map_err(|error| Failure::usage(format!("`--token` cannot be used: {error}")))?;
        *login = AuthInfo { token: parsed.token, ..AuthInfo::default() };
    }
    if let (Some(certificate), Some(key)) = (&args.client_certificate, &args.client_key) {
        let path = |file: &Path| Some(file.to_string_lossy().into_owned());
        (login.client_certificate, login.client_certificate_data) = (path(certificate), None);
        (login.client_key, login.client_key_data) = (path(key), None);
    }
    if let Some(user) = &args.as_user {
        login.impersonate = Some(user.clone());
        login.impersonate_groups = (!args.as_group.is_empty()).then(|| args.as_group.clone());
    }
    if let Some(uid) = &args.as_uid {
        let value = HeaderValue::from_str(uid)
            .map_err(|error| Failure::usage(format!("`--as-uid` cannot be used: {error}")))?;
        config.headers.push((HeaderName::from_static("impersonate-uid"), value));
    }
    Ok(())
}

/// Says why a kubeconfig names no cluster that can be asked.
fn unusable(error: &KubeconfigError, known: &Kubeconfig) -> Failure {
    let contexts: Vec<&str> = known.contexts.iter().map(|context| context.name.as_str()).collect();
    let listed = if contexts.is_empty() {
        "there are none".to_owned()
    } else {
        format!("one of {}", contexts.join(", "))
    };
    if let KubeconfigError::LoadContext(name) = error {
        let meant = nearest(name, &contexts).map(|found| format!("did you mean `{found}`?"));
        return Failure::new(format!("the kubeconfig has no context `{name}`")).hint(meant.unwrap_or(listed));
    }
    if matches!(error, KubeconfigError::CurrentContextNotSet) {
        return Failure::new("the kubeconfig has no current context")
            .hint(format!("name one with `--context`: {listed}"));
    }
    Failure::new(format!("the kubeconfig cannot be used: {}", with_causes(error)))
        .hint("check it with `kubectl config view`")
}

/// Turns what the API client says into words, and what can be tried.
pub(crate) fn failure(error: &kube::Error, server: &str) -> Failure {
    if let kube::Error::Api(status) = error {
        if status.code == 401 {
            return Failure::new(format!("{server} does not know these credentials, or they have expired"))
                .hint("log in again, and check with `kubectl auth whoami`");
        }
        if status.is_forbidden() {
            return Failure::new(format!("{server} refuses: {}", status.message))
                .hint("ask for the ClusterRole of `manifests/deployer.yaml`");
        }
        return Failure::new(format!("{server} refuses: {}", status.message));
    }
    let text = with_causes(error);
    if matches!(error, kube::Error::Auth(_)) {
        return Failure::new(format!("logging in to {server} failed: {text}"))
            .hint("run `kubectl auth whoami` to see whether kubectl can log in");
    }
    if matches!(causes::find::<rustls::Error>(error), Some(rustls::Error::InvalidCertificate(_))) {
        return Failure::new(format!("{server} has a certificate that is not trusted: {text}"))
            .hint("name its authority with `--certificate-authority`, or its name with `--tls-server-name`");
    }
    Failure::new(format!("{server} cannot be reached: {text}"))
        .hint("check the address with `kubectl cluster-info`, or choose another with `--context`")
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::client::fake_hub;
    use crate::session::certificates;

    /// Asks a server for its version by a client that trusts nobody, and says what came of it.
    async fn asked(port: u16) -> Failure {
        let url = format!("https://127.0.0.1:{port}");
        let mut config = Config::new(url.parse().expect("an address"));
        config.root_cert = Some(Vec::new());
        let client = Client::try_from(config).expect("a client");
        failure(&client.apiserver_version().await.expect_err("no version"), "the server")
    }

    #[tokio::test]
    async fn a_certificate_that_is_not_trusted_is_told_from_a_server_that_is_not_there() {
        let made = certificates::make("abcde").expect("certificates");
        let server = fake_hub::serve(&made.hub);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (mut ours, theirs) = tokio::io::duplex(1 << 14);
                server.send(theirs).await.expect("served");
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut ours).await.ok() });
            }
        });
        let untrusted = asked(port).await;
        assert!(untrusted.what.contains("has a certificate that is not trusted"), "{untrusted}");
        serving.abort();
        assert!(serving.await.is_err_and(|error| error.is_cancelled()));
        let away = asked(port).await;
        assert!(away.what.contains("cannot be reached"), "{away}");
    }
}
