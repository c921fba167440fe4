//! Our end against rustls's own, over real sockets.

use std::io::{self, Write};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, SystemTime};

use mesh_ir::name::TrustDomain;
use mesh_trust::{Bundle, ClientAuth, Expect, Svid, client_config, server_config, server_name};
use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls::{ClientConfig, HandshakeKind, ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use zeroize::Zeroizing;

use super::*;
use crate::proxy::conn::Conn;

const ID: &str = "spiffe://cluster.local/ns/shop/sa/cart";
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone)]
struct Ends {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

/// Both ends of one workload's.
fn ends() -> Ends {
    let params = |uri: &str, ca, usage| {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.is_ca = ca;
        params.key_usages = vec![usage];
        params.not_before = (SystemTime::now() - HOUR).into();
        params.not_after = (SystemTime::now() + HOUR).into();
        params
    };
    let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root =
        params("spiffe://cluster.local", ca, KeyUsagePurpose::KeyCertSign).self_signed(&root_key).unwrap();
    let issuer = Issuer::from_ca_cert_der(root.der(), &root_key).unwrap();
    let leaf =
        params(ID, IsCa::ExplicitNoCa, KeyUsagePurpose::DigitalSignature).signed_by(&key, &issuer).unwrap();
    let bundle =
        Arc::new(Bundle::from_der(TrustDomain::new("cluster.local").unwrap(), vec![root.into()]).unwrap());
    let svid = Svid::new(vec![leaf.into()], Zeroizing::new(key.serialize_der()), SystemTime::now()).unwrap();
    let expect = Expect::Exactly(ID.parse().unwrap());
    let mut client = client_config(Some(&svid), &bundle, expect, &[b"weir/1"]).unwrap();
    Arc::make_mut(&mut client).enable_secret_extraction = true;
    let mut server = server_config(&svid, &bundle, &[b"weir/1"], ClientAuth::Required).unwrap();
    Arc::make_mut(&mut server).enable_secret_extraction = true;
    Ends { client, server }
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialling = TcpStream::connect(listener.local_addr().unwrap());
    let (dialled, accepted) = tokio::join!(dialling, listener.accept());
    (dialled.unwrap(), accepted.unwrap().0)
}

fn name() -> rustls_pki_types::ServerName<'static> {
    server_name([127, 0, 0, 1].into())
}

async fn our_client(ends: &Ends) -> (Tls, tokio_rustls::server::TlsStream<TcpStream>) {
    let (near, far) = sockets().await;
    let ours = handshake::connect(near.into(), name(), ends.client.clone());
    let (ours, theirs) = tokio::join!(ours, TlsAcceptor::from(ends.server.clone()).accept(far));
    (ours.unwrap().into_tls().unwrap(), theirs.unwrap())
}

async fn our_server(ends: &Ends) -> (Tls, tokio_rustls::client::TlsStream<TcpStream>) {
    let (near, far) = sockets().await;
    let ours = handshake::accept(near.into(), ends.server.clone());
    let (ours, theirs) = tokio::join!(ours, TlsConnector::from(ends.client.clone()).connect(name(), far));
    (ours.unwrap().into_tls().unwrap(), theirs.unwrap())
}

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8 ^ seed).collect()
}

/// Writes these many bytes at a time, and reads all that comes.
async fn exchange(end: impl AsyncRead + AsyncWrite, writes: &[usize], seed: u8) -> io::Result<Vec<u8>> {
    let (mut read, mut write) = tokio::io::split(end);
    let writing = async {
        let mut rest = &pattern(writes.iter().sum(), seed)[..];
        for length in writes {
            let (now, later) = rest.split_at(*length);
            write.write_all(now).await?;
            rest = later;
        }
        write.flush().await?;
        write.shutdown().await
    };
    let mut came = Vec::new();
    let (written, read) = tokio::join!(writing, read.read_to_end(&mut came));
    written.and(read).map(|_| came)
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), test).await.expect("it hangs") })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn tls_carries_writes_of_any_length_both_ways_to_their_end(
        there in proptest::collection::vec(0usize..300_000, 0..6),
        back in proptest::collection::vec(prop_oneof![0usize..40, 16_300usize..16_500, 0usize..300_000], 0..6),
    ) {
        let ends = ends();
        let all = |writes: &[usize], seed| pattern(writes.iter().sum(), seed);
        run(async {
            let (ours, theirs) = our_client(&ends).await;
            let (a, b) = tokio::join!(exchange(Conn::from(ours), &there, 1), exchange(theirs, &back, 2));
            assert!(a.unwrap() == all(&back, 2) && b.unwrap() == all(&there, 1));
            let (ours, theirs) = our_server(&ends).await;
            let (a, b) = tokio::join!(exchange(Conn::from(ours), &there, 1), exchange(theirs, &back, 2));
            assert!(a.unwrap() == all(&back, 2) && b.unwrap() == all(&there, 1));
        });
    }

    /// Whatever becomes of the bytes on their way, what is read is how the message began, and unless nothing was changed an
    /// error follows.
    #[test]
    fn tls_delivers_only_what_was_sent_and_tells_when_it_was_cut_or_changed(
        writes in proptest::collection::vec(1usize..20_000, 1..5),
        harm in harm(),
        pieces in proptest::collection::vec(1usize..30_000, 1..8),
    ) {
        run(async {
            let (ours, theirs) = our_client(&ends()).await;
            let (mut tcp, mut connection) = theirs.into_inner();
            let sent = pattern(writes.iter().sum(), 3);
            let mut rest = &sent[..];
            let mut records = Vec::new();
            for length in writes {
                connection.writer().write_all(&rest[..length]).unwrap();
                drain(&mut connection, &mut records);
                rest = &rest[length..];
            }
            connection.send_close_notify();
            drain(&mut connection, &mut records);
            let whole = records.clone();
            harm.change(&mut records);
            let mut ours = Conn::from(ours);
            let feeding = async {
                let mut rest = &records[..];
                for piece in pieces.iter().cycle() {
                    let (now, later) = rest.split_at(rest.len().min(*piece));
                    // Our end may have seen enough.
                    if now.is_empty() || tcp.write_all(now).await.is_err() {
                        break;
                    }
                    tokio::task::yield_now().await;
                    rest = later;
                }
                let _ = tcp.shutdown().await;
            };
            let mut came = Vec::new();
            let (read, ()) = tokio::join!(ours.read_to_end(&mut came), feeding);
            assert!(sent.starts_with(&came));
            // What follows the end of the stream is nothing to us.
            if records.starts_with(&whole) {
                assert!(read.is_ok() && came == sent);
            } else {
                read.unwrap_err();
                ours.read_u8().await.unwrap_err();
            }
        });
    }

    #[test]
    fn tls_takes_no_harm_from_bytes_that_are_no_tls(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        run(async {
            let ends = ends();
            let (near, mut far) = sockets().await;
            far.write_all(&bytes).await.unwrap();
            far.shutdown().await.unwrap();
            assert!(handshake::accept(near.into(), ends.server.clone()).await.is_err());
            let (near, mut far) = sockets().await;
            far.write_all(&bytes).await.unwrap();
            far.shutdown().await.unwrap();
            assert!(handshake::connect(near.into(), name(), ends.client.clone()).await.is_err());
        });
    }
}

/// What becomes of records on their way; the places are shares of their length.
#[derive(Clone, Debug)]
enum Harm {
    None,
    Cut(f64),
    Flip(f64, u8),
    Insert(f64, Vec<u8>),
    Leave(f64, f64),
    Append(Vec<u8>),
}

fn harm() -> impl Strategy<Value = Harm> {
    let some = || proptest::collection::vec(any::<u8>(), 1..60);
    prop_oneof![
        Just(Harm::None),
        (0.0..1.0).prop_map(Harm::Cut),
        (0.0..1.0, 1u8..).prop_map(|(at, bits)| Harm::Flip(at, bits)),
        (0.0..1.0, some()).prop_map(|(at, bytes)| Harm::Insert(at, bytes)),
        (0.0..1.0, 0.0..1.0).prop_map(|(from, to)| Harm::Leave(from, to)),
        some().prop_map(Harm::Append),
    ]
}

impl Harm {
    fn change(&self, records: &mut Vec<u8>) {
        let length = records.len();
        let place = |share: f64| (share * length as f64) as usize;
        match self {
            Self::None => {}
            Self::Cut(at) => records.truncate(place(*at)),
            Self::Flip(at, bits) => records[place(*at)] ^= bits,
            Self::Insert(at, bytes) => {
                records.splice(place(*at)..place(*at), bytes.iter().copied());
            }
            Self::Leave(a, b) => {
                records.drain(place(a.min(*b))..place(a.max(*b)));
            }
            Self::Append(bytes) => records.extend(bytes),
        }
    }
}

fn drain(connection: &mut ServerConnection, into: &mut Vec<u8>) {
    while connection.wants_write() {
        connection.write_tls(into).unwrap();
    }
}

async fn send(connection: &mut ServerConnection, tcp: &mut TcpStream) {
    let mut records = Vec::new();
    drain(connection, &mut records);
    tcp.write_all(&records).await.unwrap();
}

/// The rustls end reads until it has something to say of it.
async fn receive(connection: &mut ServerConnection, tcp: &mut TcpStream) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; 65536];
    let count = tcp.read(&mut bytes).await.unwrap();
    let mut rest = &bytes[..count];
    let mut came = Vec::new();
    while !rest.is_empty() {
        connection.read_tls(&mut rest).unwrap();
        connection.process_new_packets()?;
        let _ = io::Read::read_to_end(&mut connection.reader(), &mut came);
    }
    Ok(came)
}

#[test]
fn tls_what_is_read_ahead_comes_behind_what_is_there_already() {
    let ends = ends();
    let (sent, read) = run(async {
        let (ours, mut theirs) = our_client(&ends).await;
        let (mut conn, sent) = (Conn::from(ours), pattern(100_000, 3));
        let writing = async {
            theirs.write_all(&sent).await.unwrap();
            theirs.flush().await.unwrap();
        };
        let reading = async {
            while conn.ahead().len() < sent.len() {
                assert!(conn.look_ahead().await.unwrap() > 0);
            }
        };
        tokio::join!(writing, reading);
        (sent, conn.ahead().to_vec())
    });
    assert!(sent == read);
}

#[test]
fn tls_keys_change_when_either_end_wants_it() {
    run(async {
        let (mut ours, theirs) = our_client(&ends()).await;
        let (mut tcp, mut theirs) = theirs.into_inner();
        ours.change_key().unwrap();
        let mut ours = Conn::from(ours);
        for round in 0..40u8 {
            // It asks for ours too.
            theirs.refresh_traffic_keys().unwrap();
            theirs.writer().write_all(&[round]).unwrap();
            send(&mut theirs, &mut tcp).await;
            assert_eq!(ours.read_u8().await.unwrap(), round);
            ours.write_all(&[round, 7]).await.unwrap();
            assert_eq!(receive(&mut theirs, &mut tcp).await.unwrap(), [round, 7]);
        }
        for _ in 0..=MAX_KEY_UPDATES {
            theirs.refresh_traffic_keys().unwrap();
        }
        send(&mut theirs, &mut tcp).await;
        let error = ours.read_u8().await.unwrap_err();
        assert!(error.to_string().contains("TooManyKeyUpdateRequests"), "{error}");
    });
}

#[test]
fn tls_a_worn_key_is_changed_before_more_is_sealed() {
    run(async {
        let (mut ours, mut theirs) = our_client(&ends()).await;
        ours.sealer.left = 1;
        let mut ours = Conn::from(ours);
        for byte in [1, 2, 3] {
            ours.write_all(&[byte]).await.unwrap();
            assert_eq!(theirs.read_u8().await.unwrap(), byte);
        }
    });
}

#[test]
fn tls_the_peer_hears_why_it_is_refused() {
    run(async {
        let (ours, theirs) = our_client(&ends()).await;
        let (mut tcp, mut theirs) = theirs.into_inner();
        theirs.writer().write_all(b"hello").unwrap();
        let mut records = Vec::new();
        drain(&mut theirs, &mut records);
        *records.last_mut().unwrap() ^= 1;
        tcp.write_all(&records).await.unwrap();
        let mut ours = Conn::from(ours);
        let error = ours.read_u8().await.unwrap_err();
        assert_eq!(error.to_string(), "cannot decrypt peer's message");
        ours.write_all(b"x").await.unwrap_err();
        let heard = receive(&mut theirs, &mut tcp).await.unwrap_err();
        assert_eq!(heard, Error::AlertReceived(AlertDescription::BadRecordMac));
        let (near, far) = sockets().await;
        let (one, other) = (ends(), ends());
        let ours = handshake::connect(near.into(), name(), one.client.clone());
        let (ours, theirs) = tokio::join!(ours, TlsAcceptor::from(other.server.clone()).accept(far));
        let (ours, theirs) = (ours.err().unwrap(), theirs.unwrap_err());
        assert!(ours.to_string().contains("certificate"), "{ours}");
        assert!(theirs.to_string().contains("alert"), "{theirs}");
    });
}

#[test]
fn tls_a_reader_that_waits_bounds_what_is_held_and_loses_nothing() {
    run(async {
        let (mut ours, mut theirs) = our_server(&ends()).await;
        let block = pattern(MOST, 5);
        let mut cx = Context::from_waker(Waker::noop());
        let mut taken = 0;
        while let Poll::Ready(count) = ours.poll_write(&mut cx, [&block[..]].into_iter()) {
            taken += count.unwrap();
            assert!(ours.to_send.len() < 2 * buffers::LARGE, "{}", ours.to_send.len());
        }
        let mut ours = Conn::from(ours);
        let mut came = vec![0; taken];
        let reading = theirs.read_exact(&mut came);
        let (read, flushed) = tokio::join!(reading, ours.shutdown());
        read.unwrap();
        flushed.unwrap();
        assert!(came.chunks(MOST).all(|chunk| block.starts_with(chunk)));
        assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
    });
}

#[test]
fn tls_a_session_is_resumed_and_a_connection_at_rest_holds_no_buffer() {
    run(async {
        let ends = ends();
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            let (near, far) = sockets().await;
            let client = handshake::connect(near.into(), name(), ends.client.clone());
            let server = handshake::accept(far.into(), ends.server.clone());
            let (client, server) = tokio::join!(client, server);
            let (client, server) = (client.unwrap(), server.unwrap());
            assert_eq!(client.state().handshake_kind(), Some(expected));
            assert_eq!(server.state().handshake_kind(), Some(expected));
            for done in [client.state(), server.state()] {
                let identity = mesh_trust::peer_identity(done, rustls_pki_types::UnixTime::now()).unwrap();
                assert_eq!(identity.to_string(), ID);
            }
            let (mut client, mut server) = (client.into_tls().unwrap(), server.into_tls().unwrap());
            let mut cx = Context::from_waker(Waker::noop());
            assert!(matches!(server.poll_write(&mut cx, [&b"!"[..]].into_iter()), Poll::Ready(Ok(1))));
            // The tickets came before it.
            let mut came = BytesMut::new();
            while came.is_empty() {
                std::future::poll_fn(|cx| client.poll_receive(cx)).await.unwrap();
                client.open(&mut cx, &mut came).unwrap();
            }
            assert_eq!(came, "!");
            assert!(std::future::poll_fn(|cx| Poll::Ready(client.poll_receive(cx))).await.is_pending());
            for end in [&client, &server] {
                assert_eq!(
                    (end.received.capacity(), end.to_send.capacity(), end.message.capacity()),
                    (0, 0, 0)
                );
            }
        }
    });
}
