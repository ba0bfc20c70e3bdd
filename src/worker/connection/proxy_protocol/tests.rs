use std::pin::pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::*;

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2: command and family, and the bytes that follow the length.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [V2, &[0x20 | command, family], &len, rest].concat()
}

/// Hands out its bytes a few at a time, and then ends.
struct Slow<'a>(&'a [u8], usize);

impl AsyncRead for Slow<'_> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let len = self.1.min(self.0.len()).min(buffer.remaining());
        let (now, later) = self.0.split_at(len);
        buffer.put_slice(now);
        self.0 = later;
        Poll::Ready(Ok(()))
    }
}

/// The client in the header, and the bytes that are left for HTTP.
fn read(bytes: &[u8], step: usize, peer: &str, trusted: Option<&Trusted>) -> io::Result<(Peer, Vec<u8>)> {
    let mut socket = Slow(bytes, step);
    let mut context = Context::from_waker(Waker::noop());
    let peer = (!peer.is_empty()).then(|| peer.parse().unwrap());
    let result = match pin!(client(&mut socket, peer, trusted)).poll(&mut context) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("nothing is waited for"),
    };
    result.map(|(client, early)| (client, [&early, socket.0].concat()))
}

fn local() -> Trusted {
    Trusted::Networks(vec!["127.0.0.1/32".parse().unwrap()])
}

#[test]
fn both_versions_name_the_client_however_they_arrive() {
    let address = [192, 0, 2, 7, 127, 0, 0, 1, 0x12, 0x34, 0x1f, 0x40];
    let mut v6 = [0; 36];
    v6[..16].copy_from_slice(&"2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets());
    let with_more = [&address[..], &[0x04, 0, 2, 1, 2]].concat();
    for (header, client) in [
        (b"PROXY TCP4 192.0.2.7 127.0.0.1 4660 8000\r\n".to_vec(), Some("192.0.2.7")),
        (b"PROXY TCP6 2001:db8::7 ::1 4660 8000\r\n".to_vec(), Some("2001:db8::7")),
        (b"PROXY UNKNOWN\r\n".to_vec(), Some("127.0.0.1")),
        (v2(1, 0x11, &address), Some("192.0.2.7")),
        (v2(1, 0x11, &with_more), Some("192.0.2.7")),
        (v2(1, 0x21, &v6), Some("2001:db8::7")),
        // HAProxy's own health check.
        (v2(0, 0x00, b""), Some("127.0.0.1")),
        (v2(0, 0x11, &address), Some("127.0.0.1")),
        (v2(1, 0x31, &[0; 216]), None),
    ] {
        let request = b"GET / HTTP/1.1\r\n\r\n";
        for step in [1, 7, 1000] {
            let (found, rest) =
                read(&[&header, &request[..]].concat(), step, "127.0.0.1", Some(&local())).unwrap();
            assert_eq!(found.map(|found| found.to_string()).as_deref(), client, "{header:?}");
            assert_eq!(rest, request);
        }
    }
}

#[test]
fn trusted_proxies_must_send_one_and_no_other_client_may() {
    let header = b"PROXY TCP4 192.0.2.7 127.0.0.1 4660 8000\r\nGET / HTTP/1.1\r\n\r\n";
    for (peer, trusted) in [("192.0.2.1", Some(local())), ("127.0.0.1", None)] {
        let (client, rest) = read(header, 1000, peer, trusted.as_ref()).unwrap();
        assert_eq!((client.unwrap().to_string().as_str(), &rest[..]), (peer, &header[..]));
    }
    for wrong in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PROXY TCP4 192.0.2.7 127.0.0.1 4660 8000",
        b"PROXY TCP4 192.0.2 127.0.0.1 4660 8000\r\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 4660 80000\r\n",
        b"PROXY TCP9 x y 1 2\r\n",
        b"PROXY",
        b"",
        &V2[..8],
        &v2(7, 0x11, &[0; 12]),
        &v2(1, 0x11, &[0; 3]),
    ] {
        for step in [1, 1000] {
            assert!(read(wrong, step, "127.0.0.1", Some(&local())).is_err(), "{wrong:?}");
            assert!(read(wrong, step, "", Some(&local())).is_err(), "{wrong:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_header_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0..3_u8) {
        let begin = [&b""[..], b"PROXY ", V2][usize::from(kind)];
        let bytes = [begin, &bytes].concat();
        if let Ok((_, rest)) = read(&bytes, 50, "127.0.0.1", Some(&local())) {
            prop_assert!(bytes.ends_with(&rest) && rest.len() < bytes.len());
        }
    }
}
