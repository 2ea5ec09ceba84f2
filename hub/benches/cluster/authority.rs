//! Certificates of the session, as the plugin makes them, and of the API server.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use proto::launch::Identity;
use proto::{ROLE_URI_PREFIX, SERVER_NAME};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Signs for one run.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

// === impl Authority ===

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// Returns the authority's own certificate, PEM encoded.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Makes an identity of one role of the session.
    pub(crate) fn identity(&self, role: &str) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![SERVER_NAME.to_owned()])?;
        params.subject_alt_names.push(SanType::URI(format!("{ROLE_URI_PREFIX}{role}").try_into()?));
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity {
            authority: self.issuer.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    /// Makes what a server at this address shows its clients.
    pub(crate) fn server(&self, address: IpAddr) -> Result<ServerConfig> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.subject_alt_names.push(SanType::IpAddress(address));
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .context("the API server's certificate")
    }
}
