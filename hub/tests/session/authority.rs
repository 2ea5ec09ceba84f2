//! A session's certificates, as the plugin makes them.

use proto::launch::Identity;
use proto::{ROLE_URI_PREFIX, SERVER_NAME};

/// A certificate authority of one test.
pub(crate) struct Authority {
    issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        Self { issuer: rcgen::CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    pub(crate) fn identity(&self, role: &str) -> Identity {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![SERVER_NAME.to_owned()]).unwrap();
        let uri = format!("{ROLE_URI_PREFIX}{role}").try_into().unwrap();
        params.subject_alt_names.push(rcgen::SanType::URI(uri));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { authority: self.issuer.pem(), certificate: certificate.pem(), key: key.serialize_pem() }
    }
}
