//! Logging, Sentry and statsd: one `start` each. All rooms call this one; it calls none.
//!
//! `log` may be started anywhere, also in the master: it has no thread and no state that a fork
//! could duplicate. `sentry` (one thread, with a DSN) is started in a worker or another child,
//! after the fork, and so is `statsd` (a buffer). `names` has the addresses of their hosts. `notify_socket`
//! is for messages to the service manager, and `datagram` for all messages that carry a descriptor.

mod access;
mod access_format;
mod access_json;
mod access_record;
pub mod datagram;
mod date;
mod fields;
mod format;
mod format_error;
mod json;
mod log;
mod log_error;
mod log_settings;
pub mod names;
pub mod notify_socket;
mod output;
mod percent;
mod relay;
pub mod sentry;
pub mod statsd;
mod values;

pub use access::{AccessLog, AccessSettings};
pub use access_format::{AccessFormat, AccessLine};
pub use access_record::AccessRecord;
pub use date::{DateFormatError, check_date_format};
pub use format::LogFormat;
pub use format_error::FormatError;
pub use log::Log;
pub use log_error::LogError;
pub use log_settings::{LogSettings, parse_level};
pub use relay::{Relay, Relayed, relay};
pub use statsd::Statsd;
