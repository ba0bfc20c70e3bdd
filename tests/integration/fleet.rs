//! Nodes and the services that they share: what breaks between them, and that it heals by itself.

mod behind;
mod changes;
mod failover;
mod healing;
mod litestream;
mod nodes;
mod partition;
mod source;
mod view;
