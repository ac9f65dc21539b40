//! TLS as `sslmode` asks for it, and authentication over it.

use godwit_lab::postgres::{Major, PgServer};
use godwit_lab::proxy::{Hold, Proxy};
use godwit_model::ErrorKind;
use godwit_model::effect::SqlUndo;
use godwit_model::plugin::Access;
use godwit_postgres::Postgres;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::support::*;

/// An authority, and a server's certificate by it for a name.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes a file of a server, which has to belong to its user.
fn write(server: &PgServer, file: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = server.data_dir().join(file);
    let text = text.trim().replace('\'', "''");
    let sql = format!("COPY (SELECT unnest(string_to_array('{text}', E'\\n'))) TO '{}'", path.display());
    server.psql("postgres", &sql).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Gives a server a certificate.
async fn install(server: &PgServer, issuer: &CertifiedIssuer<'_, KeyPair>, name: &str) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, issuer).unwrap();
    write(server, "server.crt", &certificate.pem());
    write(server, "server.key", &key.serialize_pem());
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
        // By a source's connection, then by a target's.
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

// With threads of its own: psql waits for what an orphan has locked, while the proxy tells the orphan of its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_in_the_middle_of_an_encrypted_copy_is_made_again() {
    let (source, sink) = tokio::join!(PgServer::start(Major::V15), PgServer::start(Major::V15));
    let (source, sink) = (source.unwrap(), sink.unwrap());
    for server in [&source, &sink] {
        install(server, &authority(), "127.0.0.1").await;
        server.psql("postgres", "CREATE TABLE big (id int, filler text)").unwrap();
    }
    let fill = "ALTER TABLE big ALTER filler SET STORAGE EXTERNAL;
        INSERT INTO big SELECT i, repeat(md5(i::text), 250) FROM generate_series(1, 3000) i";
    source.psql("postgres", fill).unwrap();
    let (to_source, to_sink) =
        (Proxy::before(source.port()).await.unwrap(), Proxy::before(sink.port()).await.unwrap());
    let by = |proxy: &Proxy, server: &PgServer| {
        format!("{}?sslmode=require", proxy.url(&server.url("postgres"), server.port()))
    };
    let effect = copy("big", &["id", "filler"]);
    for (proxy, hold) in [(&to_source, Hold::Received(2 << 20)), (&to_sink, Hold::Sent(2 << 20))] {
        sink.psql("postgres", "TRUNCATE big; DROP SCHEMA IF EXISTS godwit_marker CASCADE").unwrap();
        let pg = capability(&[("source", &by(&to_source, &source)), ("sink", &by(&to_sink, &sink))]);
        let bench = Bench::new();
        proxy.hold(hold.clone());
        let (failed, ()) = tokio::join!(bench.run(&pg, &effect), async {
            proxy.held(std::time::Duration::from_secs(60)).await.unwrap();
            proxy.cut();
        });
        let mut done = failed.map(|_| ());
        assert!(done.is_err(), "{hold:?}");
        assert_eq!(sink.psql("postgres", "SELECT count(*) FROM big").unwrap(), "0", "{hold:?}");
        // As the engine does with what is unavailable. The holder of the snapshot was cut off as well.
        for _ in 0..3 {
            match done {
                Ok(()) => break,
                Err(error) => assert_eq!(error.kind, ErrorKind::Unavailable, "{hold:?}: {error}"),
            }
            done = bench.perform(&pg, &effect, true).await.map(|_| ());
        }
        done.unwrap();
        let rows = "SELECT count(*), md5(string_agg(filler, '' ORDER BY id)) FROM big";
        assert_eq!(sink.psql("postgres", rows).unwrap(), source.psql("postgres", rows).unwrap(), "{hold:?}");
    }
}

#[tokio::test]
async fn a_client_proves_itself_by_its_certificate() {
    let server = PgServer::start(Major::V15).await.unwrap();
    let (ours, theirs) = (authority(), authority());
    write(&server, "clients.crt", &ours.pem());
    server.psql("postgres", "CREATE ROLE certified LOGIN").unwrap();
    server.psql("postgres", "ALTER SYSTEM SET ssl_ca_file = 'clients.crt'").unwrap();
    let rules = server.psql("postgres", "SELECT pg_read_file('pg_hba.conf')").unwrap();
    write(&server, "pg_hba.conf", &format!("hostssl all certified all cert\n{rules}"));
    install(&server, &ours, "127.0.0.1").await;

    let folder = tempfile::tempdir().unwrap();
    let client = |name: &str, issuer: &CertifiedIssuer<'_, KeyPair>| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "certified");
        let certificate = params.signed_by(&key, issuer).unwrap();
        let (crt, pem) =
            (folder.path().join(format!("{name}.crt")), folder.path().join(format!("{name}.key")));
        std::fs::write(&crt, certificate.pem()).unwrap();
        std::fs::write(&pem, key.serialize_pem()).unwrap();
        format!("sslcert={}&sslkey={}", crt.display(), pem.display())
    };
    let attempt = async |options: &str| {
        let port = server.port();
        let url = format!("postgres://certified@127.0.0.1:{port}/postgres?sslmode=require&{options}");
        let pg = capability(&[("source", &url), ("sink", &url)]);
        let bench = Bench::new();
        let read = bench.query(&pg, "source", "SELECT current_user AS name").await;
        // A target's markers are looked for.
        let status = pg.target_status(&grant("sink", Access::Write)).await;
        assert_eq!(read.is_ok(), status.is_ok(), "{options}: {read:?} {status:?}");
        read
    };
    let own = client("own", &ours);
    assert_eq!(attempt(&own).await.unwrap(), [r#"{"name":"certified"}"#]);
    assert_eq!(attempt("").await.unwrap_err().kind, ErrorKind::Failed);
    assert!(attempt(&client("foreign", &theirs)).await.is_err());
    let mixed = format!("{}&sslkey={}", own, folder.path().join("foreign.key").display());
    let error = attempt(&mixed).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
}

#[tokio::test]
async fn a_password_file_serves_either_end() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = PgServer::start(Major::V16).await.unwrap();
    server.psql("postgres", "CREATE ROLE filed LOGIN PASSWORD 'made-up-word'").unwrap();
    let rules = server.psql("postgres", "SELECT pg_read_file('pg_hba.conf')").unwrap();
    write(&server, "pg_hba.conf", &format!("host all filed all scram-sha-256\n{rules}"));
    server.restart().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("passwords");
    let port = server.port();
    std::fs::write(&file, format!("*:{port}:postgres:filed:made-up-word\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let url = format!("postgres://filed@127.0.0.1:{port}/postgres?passfile={}", file.display());
    let pg = capability(&[("source", &url), ("sink", &url)]);
    assert!(Bench::new().query(&pg, "source", "SELECT 1 AS one").await.is_ok());
    assert!(pg.target_status(&grant("sink", Access::Write)).await.is_ok());

    std::fs::write(&file, "other.example.com:*:*:*:made-up-word\n").unwrap();
    let pg = capability(&[("source", &url), ("sink", &url)]);
    let error = Bench::new().query(&pg, "source", "SELECT 1 AS one").await.unwrap_err();
    assert!(error.message.contains("none is given"), "{error}");
}

/// Ends TLS with a certificate of its own and speaks TLS to the server: what channel binding is there to notice.
async fn in_between(issuer: &CertifiedIssuer<'_, KeyPair>, server: u16) -> u16 {
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap().der().clone();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let provider = || Arc::new(rustls::crypto::ring::default_provider());
    let to_client = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(issuer.der().clone()).unwrap();
    let to_server = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (acceptor, connector) =
        (TlsAcceptor::from(Arc::new(to_client)), TlsConnector::from(Arc::new(to_server)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (acceptor, connector) = (acceptor.clone(), connector.clone());
            // A side that hangs up ends the other one as well.
            tokio::spawn(async move {
                let mut request = [0; 8];
                client.read_exact(&mut request).await?;
                client.write_all(b"S").await?;
                let mut client = acceptor.accept(client).await?;
                let mut server = TcpStream::connect(("127.0.0.1", server)).await?;
                server.write_all(&SSL_REQUEST).await?;
                server.read_u8().await?;
                let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
                let mut server = connector.connect(name, server).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    port
}

#[tokio::test]
async fn a_password_is_bound_to_the_session_with_the_server_itself() {
    let server = PgServer::start(Major::V15).await.unwrap();
    let ours = authority();
    install(&server, &ours, "127.0.0.1").await;
    server.psql("postgres", "CREATE ROLE bound LOGIN PASSWORD 'made-up-word'").unwrap();
    server.psql("postgres", "CREATE ROLE trusted LOGIN").unwrap();
    let rules = server.psql("postgres", "SELECT pg_read_file('pg_hba.conf')").unwrap();
    write(
        &server,
        "pg_hba.conf",
        &format!("host all bound all scram-sha-256\nhost all trusted all trust\n{rules}"),
    );
    server.restart().await.unwrap();
    let between = in_between(&ours, server.port()).await;
    let attempt = async |port: u16, user: &str, options: &str| {
        let url = format!("postgres://{user}@127.0.0.1:{port}/postgres?{options}");
        let pg = capability(&[("source", &url), ("sink", &url)]);
        Bench::new().query(&pg, "source", "SELECT current_user AS name").await
    };
    let name = Ok(vec![r#"{"name":"bound"}"#.to_owned()]);
    for binding in ["disable", "prefer", "require"] {
        let options = format!("sslmode=require&channel_binding={binding}");
        let direct = attempt(server.port(), "bound:made-up-word", &options).await;
        assert_eq!(direct, name, "{binding}");
        // Who sits in between has a certificate of the same authority: sslmode alone can't tell.
        let through = attempt(between, "bound:made-up-word", &options).await;
        match binding {
            "disable" => assert_eq!(through, name),
            _ => {
                let error = through.unwrap_err();
                assert!(
                    error.message.contains("channel binding") && error.hint.is_some(),
                    "{binding}: {error}"
                );
            }
        }
    }
    let error =
        attempt(server.port(), "trusted", "sslmode=require&channel_binding=require").await.unwrap_err();
    assert!(error.message.contains("without channel binding") && error.hint.is_some(), "{error}");
    for (options, expected) in [
        ("sslmode=disable&channel_binding=require", "sslmode=disable forbids"),
        ("channel_binding=perhaps", "`perhaps` isn't known"),
    ] {
        let url = format!("postgres://bound@db.example.com/postgres?{options}");
        let made = Postgres::new(vec![connection("source", serde_json::json!({ "url": url }))]);
        let error = made.map(|_| ()).unwrap_err();
        assert!(error.message.contains(expected), "{error}");
    }
}
