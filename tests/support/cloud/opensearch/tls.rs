//! Certificates that are made for a node, and for who pretends to be it.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{PrivateKeyDer, ServerName},
    },
};

use super::{super::Server, Client};

/// Who signs the certificates of a node.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// A certificate and its key.
struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    pub fn new() -> Self {
        let mut parameters = parameters("ca", &[]);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(parameters, key), certificate }
    }

    fn sign(&self, common_name: &str, names: &[&str]) -> Identity {
        let mut parameters = parameters(common_name, names);
        // A node is a client of other nodes too, and refuses to start with less.
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        Identity { certificate, key }
    }

    /// Writes `ca.pem`, and `node.pem` and `node.key` for this machine.
    pub fn write(&self, folder: &Path) {
        let node = self.sign("node", &["localhost", "127.0.0.1"]);
        fs::write(folder.join("ca.pem"), self.certificate.pem()).unwrap();
        fs::write(folder.join("node.pem"), node.certificate.pem()).unwrap();
        fs::write(folder.join("node.key"), node.key.serialize_pem()).unwrap();
    }

    /// What a client needs to trust the node, and nobody else.
    pub fn trust(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into());
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

fn parameters(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let mut parameters = CertificateParams::new(names).unwrap();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    parameters
}

/// A way to a node that has the certificate of somebody else, by the same authority.
pub struct AnotherName {
    trust: Arc<ClientConfig>,
    server: Server,
}

impl AnotherName {
    /// In its certificate.
    pub const NAME: &str = "elsewhere.example";

    pub fn start(authority: &Authority, node: SocketAddr) -> Self {
        let Identity { certificate, key } = authority.sign("other", &[Self::NAME]);
        let builder = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into());
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let connector = TlsConnector::from(authority.trust());
        let server = Server::start(move |stream| {
            let (acceptor, connector) = (acceptor.clone(), connector.clone());
            async move {
                // A client that minds does not get further than this.
                let Ok(mut client) = acceptor.accept(stream).await else { return };
                let stream = TcpStream::connect(node).await.unwrap();
                let name = ServerName::try_from("localhost").unwrap();
                let mut node = connector.connect(name, stream).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut node).await;
            }
        });
        Self { trust: authority.trust(), server }
    }

    /// A client that does look at the name, and expects this one.
    pub fn client(&self, name: &'static str) -> Client {
        Client::secure(self.server.address.port(), self.trust.clone(), name)
    }

    /// `https://localhost:<port>`.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.server.address.port())
    }
}
