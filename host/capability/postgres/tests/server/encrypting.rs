//! TLS as `sslmode` asks for it, by both kinds of connection.

use godwit_lab::postgres::{Major, PgServer};
use godwit_model::ErrorKind;
use godwit_model::effect::SqlUndo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::support::*;

/// An authority, and a server's certificate by it for a name.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Gives a server a certificate, by way of its own files: they have to belong to its user.
async fn install(server: &PgServer, issuer: &CertifiedIssuer<'_, KeyPair>, name: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, issuer).unwrap();
    for (file, pem) in [("server.crt", certificate.pem()), ("server.key", key.serialize_pem())] {
        let path = server.data_dir().join(file);
        let sql = format!(
            "COPY (SELECT unnest(string_to_array('{}', E'\\n'))) TO '{}'",
            pem.trim(),
            path.display()
        );
        server.psql("postgres", &sql).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    server.psql("postgres", "ALTER SYSTEM SET ssl = on").unwrap();
    server.restart().await.unwrap();
}

#[tokio::test]
async fn each_sslmode_proves_what_it_promises() {
    let server = PgServer::start(Major::V15).await.unwrap();
    // Debian's build has TLS, the wheel's has not.
    let (ours, theirs) = (authority(), authority());
    let folder = tempfile::tempdir().unwrap();
    let root = |name: &str, issuer: &CertifiedIssuer<'_, KeyPair>| {
        let path = folder.path().join(name);
        std::fs::write(&path, issuer.pem()).unwrap();
        path.display().to_string()
    };
    let (ours_pem, theirs_pem) = (root("ours.pem", &ours), root("theirs.pem", &theirs));
    let url = server.url("postgres");
    let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

    let attempt = async |options: String| {
        let url = format!("{url}?{options}");
        let pg = capability(&[("source", &url), ("sink", &url)]);
        let bench = Bench::new();
        // The thin connection, then sqlx.
        let read = bench.query(&pg, "source", encrypted).await;
        let written = bench.run(&pg, &execute("one", &["SELECT 1"], SqlUndo::Nothing)).await;
        assert_eq!(read.is_ok(), written.is_ok(), "{options}: {read:?} {written:?}");
        read
    };
    let yes = Ok(vec![r#"{"ssl":true}"#.to_owned()]);
    let refused = attempt("sslmode=require".into()).await.unwrap_err();
    assert!(refused.message.contains("no TLS"), "{refused}");

    install(&server, &ours, "127.0.0.1").await;
    assert_eq!(attempt("sslmode=disable".into()).await, Ok(vec![r#"{"ssl":false}"#.to_owned()]));
    assert_eq!(attempt("sslmode=prefer".into()).await, yes);
    assert_eq!(attempt("sslmode=require".into()).await, yes);
    assert_eq!(attempt(format!("sslmode=verify-full&sslrootcert={ours_pem}")).await, yes);
    for options in [
        "sslmode=verify-full".to_owned(),
        format!("sslmode=verify-full&sslrootcert={theirs_pem}"),
        format!("sslmode=verify-ca&sslrootcert={theirs_pem}"),
        // As libpq: a root certificate makes `require` check.
        format!("sslmode=require&sslrootcert={theirs_pem}"),
    ] {
        let error = attempt(options.clone()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Failed, "{options}: {error}");
        assert!(error.hint.is_some_and(|hint| hint.contains("sslrootcert")), "{options}");
    }

    install(&server, &ours, "db.example.com").await;
    assert_eq!(attempt(format!("sslmode=verify-ca&sslrootcert={ours_pem}")).await, yes);
    let error = attempt(format!("sslmode=verify-full&sslrootcert={ours_pem}")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Failed, "{error}");
}
