//! Lingering close: the client may still send a refused body, or requests after the last answered
//! one. If the worker closed such a socket, the kernel would reset the connection, and the client,
//! which still writes, would never read the answer (RFC 9112 9.6). So the worker ends its own side,
//! and continues to read for a while.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::worker::watch::activity::Activity;

/// Longest time for which the worker continues to read.
const TIME_MAX: Duration = Duration::from_secs(30);
/// Most bytes that it discards.
const BYTES_MAX: usize = 64 << 20;
/// Most bytes that it reads at once.
const DISCARDED_AT_ONCE: usize = 64 * 1024;

/// Ends the worker's side of a connection, and discards incoming bytes until the client ends its
/// own side or a limit is reached. The sweep ends a connection whose client is silent.
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
