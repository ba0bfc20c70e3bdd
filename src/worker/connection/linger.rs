//! The end of a connection whose client may still be sending: a body that is refused, requests after the last
//! one that is answered. Closing such a socket makes the kernel reset the connection, and the client, which
//! still writes, never reads the answer (RFC 9112 9.6). So the worker ends its own side, and reads on for a
//! while.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::worker::watch::activity::Activity;

/// How long it is listened to at most.
const TIME_MAX: Duration = Duration::from_secs(30);
/// How many bytes are thrown away at most.
const BYTES_MAX: usize = 64 << 20;
/// How many at once.
const DISCARDED_AT_ONCE: usize = 64 * 1024;

/// Ends our side of a connection, and throws away what still comes until the client ends its own or the
/// limits are reached. A client that is silent is ended by the sweep.
pub(in crate::worker) async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S, activity: &Activity) {
    if socket.shutdown().await.is_err() {
        return;
    }
    activity.lingers();
    let begin = activity.clock().now_ms();
    let mut piece = vec![0; DISCARDED_AT_ONCE];
    let mut left = BYTES_MAX;
    while let Ok(1..) = socket.read(&mut piece).await.inspect(|len| left = left.saturating_sub(*len)) {
        if left == 0 || activity.clock().since(begin) > TIME_MAX {
            return;
        }
        activity.lingers();
    }
}
